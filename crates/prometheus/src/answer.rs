//! What a Prometheus says, read.

use std::borrow::Cow;

use kompass_history::{Labels, Point, Series};
use serde::Deserialize;

/// Characters of a server's words that are shown.
const MAX_WORDS: usize = 300;
/// Times are within the years 0 to 9999, seconds since 1970.
const LATEST_S: f64 = 253_402_300_800.0;

/// An answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) series: Vec<Series>,
    /// The answer may lack something; what follows is why.
    pub(crate) warnings: Vec<String>,
}

/// What a server that does not answer says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its `errorType`, such as `execution`; empty if it has none.
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// Why an answer can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("it is no JSON of Prometheus's API")]
    Json(#[from] serde_json::Error),
    #[error("it says neither success nor error, but {0:?}")]
    Status(String),
    #[error("its result is a {0}, not a matrix or vector")]
    Kind(&'static str),
    #[error("it has the time {0}")]
    Time(f64),
    #[error("it has the value {0:?}")]
    Value(String),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data<'a> {
    #[serde(borrow)]
    Matrix(Vec<Row<'a>>),
    Vector(Vec<One<'a>>),
    Scalar(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Row<'a> {
    metric: Labels,
    /// Absent if there are only native histograms.
    #[serde(borrow, default)]
    values: Vec<Sample<'a>>,
}

#[derive(Deserialize)]
struct One<'a> {
    metric: Labels,
    #[serde(borrow)]
    value: Option<Sample<'a>>,
}

#[derive(Deserialize)]
struct Sample<'a>(f64, #[serde(borrow)] Cow<'a, str>);

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Refused {
    error_type: Option<String>,
    error: Option<String>,
}

/// Reads an answer of status 200. Values may be NaN or infinite.
pub(crate) fn read(body: &[u8]) -> Result<Answer, Error> {
    let envelope: Envelope<'_> = serde_json::from_slice(body)?;
    if envelope.status != "success" {
        return Err(Error::Status(words(&envelope.status)));
    }
    let series = match envelope.data {
        Some(Data::Matrix(rows)) => rows.into_iter().map(|row| series(row.metric, row.values)).collect(),
        Some(Data::Vector(rows)) => rows
            .into_iter()
            .map(|one| series(one.metric, one.value.into_iter().collect()))
            .collect(),
        Some(Data::Scalar(_)) => Err(Error::Kind("scalar")),
        Some(Data::String(_)) => Err(Error::Kind("string")),
        None => Err(Error::Kind("nothing")),
    }?;
    let warnings = envelope.warnings.unwrap_or_default();
    Ok(Answer {
        series,
        warnings: warnings.iter().map(|warning| words(warning)).collect(),
    })
}

/// Reads an answer of another status, whatever it is.
pub(crate) fn refusal(body: &[u8]) -> Refusal {
    match serde_json::from_slice::<Refused>(body) {
        Ok(Refused {
            error_type,
            error: Some(message),
        }) => Refusal {
            kind: words(&error_type.unwrap_or_default()),
            message: words(&message),
        },
        // A proxy in front of it answers in a language of its own.
        _ => Refusal {
            kind: String::new(),
            message: words(&String::from_utf8_lossy(body)),
        },
    }
}

fn series(metric: Labels, values: Vec<Sample<'_>>) -> Result<Series, Error> {
    let points = values.into_iter().map(|Sample(seconds, value)| {
        if !(0.0..LATEST_S).contains(&seconds) {
            return Err(Error::Time(seconds));
        }
        let value = value.parse().map_err(|_| Error::Value(words(&value)))?;
        let at_ms = milliseconds(seconds);
        Ok(Point { at_ms, value })
    });
    Ok(Series {
        labels: metric,
        points: points.collect::<Result<_, _>>()?,
    })
}

#[expect(clippy::cast_possible_truncation, reason = "within the years 0 to 9999")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1_000.0).round() as i64
}

/// In one line, and not too long.
fn words(text: &str) -> String {
    let line = text.split(|c: char| c.is_control() || c.is_whitespace());
    let line: Vec<&str> = line.filter(|word| !word.is_empty()).take(MAX_WORDS).collect();
    line.join(" ").chars().take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_matrix_and_a_vector_are_series() {
        let matrix = br#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"a":"b\n"},"values":[[1435781430.781,"1"],[1435781445,"NaN"],[1435781460,"+Inf"],[1,"-Inf"]]},
            {"metric":{},"histograms":[[1,{"count":"1"}]]}]},"warnings":["half of\nit"]}"#;
        let answer = read(matrix).unwrap();
        assert_eq!(answer.warnings, ["half of it"]);
        assert_eq!(answer.series[0].labels["a"], "b\n");
        let points = &answer.series[0].points;
        assert_eq!((points[0].at_ms, points[0].value), (1_435_781_430_781, 1.0));
        assert!(points[1].value.is_nan());
        assert_eq!((points[2].value, points[3].value), (f64::INFINITY, f64::NEG_INFINITY));
        assert_eq!(answer.series[1].points, []);
        let vector =
            br#"{"data":{"result":[{"value":[7,"2e3"],"metric":{}}],"resultType":"vector"},"status":"success"}"#;
        assert_eq!(
            read(vector).unwrap().series[0].points,
            [Point {
                at_ms: 7_000,
                value: 2_000.0
            }]
        );
    }

    #[test]
    fn what_is_no_answer_is_said() {
        for (body, expected) in [
            ("", "no JSON"),
            ("<html>", "no JSON"),
            (r#"{"status":"success"}"#, "nothing"),
            (r#"{"status":"error","error":"x"}"#, "\"error\""),
            (
                r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#,
                "scalar",
            ),
            (
                r#"{"status":"success","data":{"resultType":"tensor","result":[]}}"#,
                "no JSON",
            ),
            (
                r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[-1,"1"]]}]}}"#,
                "time -1",
            ),
            (
                r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"x"]]}]}}"#,
                "value \"x\"",
            ),
        ] {
            let error = read(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{body}: {error}");
        }
    }

    #[test]
    fn a_refusal_is_kept_short() {
        let told = refusal(br#"{"status":"error","errorType":"execution","error":"query processing\nwould"}"#);
        assert_eq!((&*told.kind, &*told.message), ("execution", "query processing would"));
        let long = refusal("é ".repeat(5_000).as_bytes());
        assert_eq!((long.kind.len(), long.message.chars().count()), (0, MAX_WORDS));
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(
            body in prop::collection::vec(any::<u8>(), 0..200),
            value in "[-+0-9eEinfaNt.]{0,12}",
            time in any::<f64>(),
        ) {
            let _ = read(&body);
            let _ = refusal(&body);
            let body = format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{}},"values":[[{time:?},"{value}"]]}}]}}}}"#
            );
            let _ = read(body.as_bytes());
        }
    }
}
