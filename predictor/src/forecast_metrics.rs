//! The metrics of forecasts.

use kompass_forecast::drift::Drift;
use kompass_service::metrics::{CounterVec, FloatCounterVec, GaugeVec, Registry};

use crate::follow::Followed;

/// Who may tell the outlook.
const TELLERS: [&str; 3] = ["model", "naive", "nothing"];
/// The hours of an outlook.
const HOURS: [&str; 2] = ["this", "next"];
/// Why a model is demoted.
const DRIFTS: [&str; 3] = ["shift", "coverage", "worse-than-naive"];

/// Handles.
#[derive(Debug, Clone)]
pub struct Forecasts {
    nodes: GaugeVec<1>,
    quantiles: GaugeVec<2>,
    by: GaugeVec<1>,
    judged: CounterVec<2>,
    covered: CounterVec<2>,
    loss: FloatCounterVec<2>,
    drifts: CounterVec<1>,
}

impl Forecasts {
    /// Adds them to a registry.
    pub fn register(registry: &Registry) -> Self {
        let forecasts = Self {
            nodes: registry.gauge_vec(
                "kompass_predictor_forecast_nodes",
                "Node-size expected to be submitted in the hour that has begun (this) and in the next; not there without a \
                 forecast.",
                ["hour"],
            ),
            quantiles: registry.gauge_vec(
                "kompass_predictor_forecast_quantile_nodes",
                "Node-size that is not exceeded with this probability; not there without a forecast.",
                ["hour", "quantile"],
            ),
            by: registry.gauge_vec(
                "kompass_predictor_forecast_by",
                "1 for what tells the forecast now: the model, the naive one (the same hour before) or nothing.",
                ["by"],
            ),
            judged: registry.counter_vec(
                "kompass_predictor_forecasts_judged_total",
                "Forecasts of an hour that were judged when it was known for an hour, by who made them.",
                ["by", "quantile"],
            ),
            covered: registry.counter_vec(
                "kompass_predictor_forecasts_covered_total",
                "Of the judged ones, those whose quantile was not exceeded.",
                ["by", "quantile"],
            ),
            loss: registry.float_counter_vec(
                "kompass_predictor_forecast_pinball_nodes_total",
                "Pinball loss of judged forecasts, nodes; of hours that both forecast, so that the two can be compared.",
                ["by", "quantile"],
            ),
            drifts: registry.counter_vec(
                "kompass_predictor_drifts_total",
                "Times that the model was demoted because it does not fit any more, by why.",
                ["kind"],
            ),
        };
        for kind in DRIFTS {
            forecasts.drifts.with([kind]);
        }
        forecasts
    }

    /// Shows what came of a tick.
    pub fn tell(&self, followed: &Followed) {
        for by in TELLERS {
            self.by.with([by]).set_bool(by == followed.outlook.by);
        }
        self.nodes.reset();
        self.quantiles.reset();
        for (name, hour) in HOURS.into_iter().zip(&followed.outlook.hours) {
            self.nodes.with([name]).set(hour.nodes);
            for &(quantile, nodes) in &hour.quantiles {
                self.quantiles.with([name, &text(quantile)]).set(nodes);
            }
        }
        for score in &followed.scores {
            let labels = [score.by, &text(score.quantile)];
            self.judged.with(labels).inc();
            self.covered.with(labels).inc_by(u64::from(score.covered));
            if let Some(loss) = score.loss {
                self.loss.with(labels).inc_by(loss);
            }
        }
        if let Some(drift) = followed.drift {
            let kind = match drift {
                Drift::Shift => DRIFTS[0],
                Drift::Coverage { .. } => DRIFTS[1],
                Drift::WorseThanNaive => DRIFTS[2],
            };
            self.drifts.with([kind]).inc();
        }
    }
}

/// As Prometheus writes quantiles.
fn text(quantile: u16) -> String {
    (f64::from(quantile) / 1_000.0).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::follow::Score;
    use crate::outlook::{Hour, Outlook};

    fn followed(by: &'static str, hours: Vec<Hour>) -> Followed {
        let outlook = Outlook {
            by,
            reason: None,
            hours,
        };
        let score = |covered| Score {
            by: "naive",
            quantile: 950,
            covered,
            loss: Some(0.25),
        };
        Followed {
            outlook,
            scores: vec![score(true), score(false)],
            drift: Some(Drift::Shift),
            demoted: true,
        }
    }

    #[test]
    fn what_is_expected_is_shown_and_taken_back() {
        let registry = Registry::new();
        let forecasts = Forecasts::register(&registry);
        let hour = Hour {
            start_ms: 0,
            end_ms: 1,
            nodes: 2.0,
            quantiles: vec![(500, 1.5), (950, 4.0)],
        };
        forecasts.tell(&followed("naive", vec![hour]));
        let text = registry.render();
        for line in [
            "kompass_predictor_forecast_nodes{hour=\"this\"} 2",
            "kompass_predictor_forecast_quantile_nodes{hour=\"this\",quantile=\"0.95\"} 4",
            "kompass_predictor_forecast_by{by=\"naive\"} 1",
            "kompass_predictor_forecast_by{by=\"model\"} 0",
            "kompass_predictor_forecasts_judged_total{by=\"naive\",quantile=\"0.95\"} 2",
            "kompass_predictor_forecasts_covered_total{by=\"naive\",quantile=\"0.95\"} 1",
            "kompass_predictor_forecast_pinball_nodes_total{by=\"naive\",quantile=\"0.95\"} 0.5",
            "kompass_predictor_drifts_total{kind=\"shift\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
        forecasts.tell(&followed("nothing", Vec::new()));
        assert!(
            !registry.render().contains("forecast_nodes{"),
            "an old forecast is not shown"
        );
    }
}
