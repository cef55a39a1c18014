//! Forecasts of the hour that has begun and of the next, as the predictor makes them and the backtest judges them.

use crate::fallback;
use crate::features::FeatureSpec;
use crate::model::{History, Horizon, Model, Setup};

/// Hours of history that count at most.
const HISTORY_H: u32 = 120 * 24;

/// The models.
#[derive(Debug, Clone, Default)]
pub struct Hourly {
    /// What was learned; none where too little is known.
    pub model: Option<Model>,
    /// The same hour a week before, or the day before where that is too long ago.
    pub naive: Option<Model>,
}

impl Hourly {
    /// Fits what can be fitted on what is known. `before`: the models in use, of which the error of each forecast since
    /// they were fitted is learned first.
    pub fn fit(history: &History<'_>, before: Option<Self>) -> Self {
        let naive = [7, 1].into_iter().find_map(|days| {
            let naive = Model::naive(&setup(), history, days).ok();
            naive.filter(|naive| naive.errors() >= fallback::LEAST_ERRORS)
        });
        let mut before = before.and_then(|before| before.model);
        if let Some(before) = &mut before {
            observe(before, history);
        }
        Self {
            model: Model::fit(&setup(), history, before.as_ref()).ok(),
            naive,
        }
    }
}

/// As it was chosen for hourly series, see the crate's benchmark.
fn setup() -> Setup {
    Setup {
        features: FeatureSpec::hourly(),
        horizon: Horizon {
            leads: 2,
            span: 1,
            at_midnight: false,
        },
        penalty: 0.1,
        history: HISTORY_H,
        errors: 56 * 24,
        gamma: 0.01,
        quantiles: vec![500, 900, 950],
    }
}

/// Learns how far a model's forecasts were off since it was fitted.
fn observe(model: &mut Model, history: &History<'_>) {
    let series = history.series;
    let leads = usize::try_from(model.setup().horizon.leads).unwrap_or(usize::MAX);
    for origin in 1..(series.len() + 1).saturating_sub(leads) {
        if series.time_ms(origin) >= model.fitted_until_ms() && model.observe(history, origin).is_err() {
            return;
        }
    }
}
