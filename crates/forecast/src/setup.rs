//! All that is chosen before a model is fitted.

use serde::{Deserialize, Serialize};

use crate::conformal::{Calibration, MAX_GAMMA, MAX_QUANTILES, MAX_SCORES};
use crate::features::FeatureSpec;
use crate::model::Error;

/// Which windows are forecast at once, in buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Horizon {
    /// How many windows; they begin one bucket after the other, the first with the first unknown bucket.
    pub leads: u32,
    /// Buckets in each window.
    pub span: u32,
    /// Forecasts are made at midnight by the users' clock only, else at every bucket.
    pub at_midnight: bool,
}

/// All that is chosen before a model is fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// What the model looks at.
    pub features: FeatureSpec,
    /// What it forecasts.
    pub horizon: Horizon,
    /// Weight of the squared coefficients, see [`crate::ridge::Ridge::fit`].
    pub penalty: f64,
    /// Buckets of history that it is fitted on at most.
    pub history: u32,
    /// Errors that quantiles are taken of.
    pub errors: u32,
    /// How fast the levels of quantiles follow, at most [`MAX_GAMMA`].
    pub gamma: f64,
    /// The quantiles, thousandths, ascending.
    pub quantiles: Vec<u16>,
}

impl Horizon {
    pub(crate) fn leads(self) -> usize {
        usize::try_from(self.leads).unwrap_or(usize::MAX)
    }

    pub(crate) fn span(self) -> usize {
        usize::try_from(self.span).unwrap_or(usize::MAX)
    }
}

impl Setup {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let day = 1..=24 * 60;
        if !self.features.is_sound() {
            return Err(Error::Setup("features"));
        }
        if !day.contains(&self.horizon.leads) || !day.contains(&self.horizon.span) {
            return Err(Error::Setup("horizon"));
        }
        if !(0.0..=MAX_GAMMA).contains(&self.gamma) {
            return Err(Error::Setup("gamma"));
        }
        if self.errors == 0 || usize::try_from(self.errors).is_ok_and(|errors| errors > MAX_SCORES) {
            return Err(Error::Setup("errors"));
        }
        let ascending = self.quantiles.windows(2).all(|pair| pair[0] < pair[1]);
        let within = self.quantiles.iter().all(|quantile| (1..1_000).contains(quantile));
        if !(ascending && within && (1..=MAX_QUANTILES).contains(&self.quantiles.len())) {
            return Err(Error::Setup("quantiles"));
        }
        Ok(())
    }

    pub(crate) fn calibration(&self) -> Calibration {
        Calibration::new(
            &self.quantiles,
            usize::try_from(self.errors).unwrap_or(MAX_SCORES),
            self.gamma,
        )
    }
}
