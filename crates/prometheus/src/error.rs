//! Why a Prometheus gave no answer, and what to do about it.

use http::StatusCode;

use crate::answer::{self, Refusal};

/// Why there is no answer, or no history.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client can't be made.
    #[error("failed to set up TLS for Prometheus: check the certificates")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The token has characters that no header has.
    #[error("failed to use the token for Prometheus: it has characters that no token has")]
    Token,
    /// The request can't be made.
    #[error("failed to ask Prometheus at {server}: its address makes no request")]
    Request {
        /// Where it is.
        server: String,
        /// What is wrong.
        #[source]
        source: http::Error,
    },
    /// No connection, or it broke.
    #[error("failed to reach Prometheus at {server} ({attempts} attempts): check --prometheus URL, and that it runs")]
    Connect {
        /// Where it was looked for.
        server: String,
        /// How often.
        attempts: u32,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It takes too long.
    #[error(
        "failed to get an answer from Prometheus at {server} within {limit_s} s ({attempts} attempts): check that it is well"
    )]
    Timeout {
        /// Where it is.
        server: String,
        /// How long each attempt was waited for, seconds.
        limit_s: u64,
        /// How often it was asked.
        attempts: u32,
    },
    /// All together takes too long.
    #[error("failed to read the history from Prometheus within {0} s: look at a shorter time, or raise the limit")]
    TotalTimeout(u64),
    /// An answer about one moment is too long.
    #[error(
        "failed to take an answer of Prometheus: for one moment it is longer than {0} bytes; narrow it with a selector"
    )]
    TooLong(usize),
    /// All answers together are too long.
    #[error(
        "failed to take the answers of Prometheus: more than {0} points in all; look at a shorter time, or narrow it with a \
         selector"
    )]
    TooManyPoints(usize),
    /// It wants to know who asks.
    #[error(
        "failed to ask Prometheus at {server}: it wants to know who asks (401); give a token, or name and password in the URL"
    )]
    Unauthorised {
        /// Where it is.
        server: String,
    },
    /// It does not answer to this one.
    #[error(
        "failed to ask Prometheus at {server}: who asks may not (403): {message}; give the account the right to query"
    )]
    Forbidden {
        /// Where it is.
        server: String,
        /// Its words.
        message: String,
    },
    /// There is no API.
    #[error("failed to find the API of Prometheus at {server} ({status}): check --prometheus URL and its path")]
    NotFound {
        /// Where it was looked for.
        server: String,
        /// What came.
        status: StatusCode,
    },
    /// It is elsewhere. Not followed: the token would go there, too.
    #[error("failed to ask Prometheus at {server}: it sends elsewhere ({location}); give that URL if it is right")]
    Elsewhere {
        /// Where it was looked for.
        server: String,
        /// Where it is said to be.
        location: String,
    },
    /// One moment is too much for it.
    #[error(
        "failed to ask Prometheus: even one moment is too much for it: {message}; narrow it with a selector, or raise its \
         limits (--query.max-samples, --query.timeout)"
    )]
    TooMuch {
        /// Its words.
        message: String,
    },
    /// It does not take the question.
    #[error("failed to ask Prometheus: it refuses the query ({status} {kind}): {message}; check the selector")]
    Refused {
        /// What came.
        status: StatusCode,
        /// Its `errorType`.
        kind: String,
        /// Its words.
        message: String,
    },
    /// It can't answer now.
    #[error(
        "failed to ask Prometheus at {server}: it can't answer now ({status}, {attempts} attempts): {message}; try again later"
    )]
    Unavailable {
        /// Where it is.
        server: String,
        /// What came.
        status: StatusCode,
        /// Its words.
        message: String,
        /// How often it was asked.
        attempts: u32,
    },
    /// What came is no answer of a Prometheus.
    #[error("failed to read the answer of {server}: is it a Prometheus? Check --prometheus URL")]
    Malformed {
        /// Where it came from.
        server: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no history.
    #[error(transparent)]
    History(#[from] kompass_history::Error),
}

/// What is to be done after a failure.
#[derive(Debug)]
pub(crate) enum Next {
    /// Ask again; a server may wish for a pause, seconds.
    Again(Error, Option<u64>),
    /// Ask for less at once.
    Less(Error),
    /// Give up.
    Stop(Error),
}

/// What a status other than 200 means. `attempts` were made so far.
pub(crate) fn judge(server: &str, status: StatusCode, headers: &http::HeaderMap, body: &[u8], attempts: u32) -> Next {
    let Refusal { kind, message } = answer::refusal(body);
    let header = |name| {
        headers
            .get(name)
            .and_then(|value: &http::HeaderValue| value.to_str().ok())
    };
    let server = server.to_owned();
    match status {
        StatusCode::UNAUTHORIZED => Next::Stop(Error::Unauthorised { server }),
        StatusCode::FORBIDDEN => Next::Stop(Error::Forbidden { server, message }),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Next::Stop(Error::NotFound { server, status }),
        _ if status.is_redirection() => {
            let location = header(http::header::LOCATION).unwrap_or("it does not say where");
            let location = location.chars().filter(|c| !c.is_control()).take(200).collect();
            Next::Stop(Error::Elsewhere { server, location })
        }
        _ if is_too_much(status, &kind, &message) => Next::Less(Error::TooMuch { message }),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::REQUEST_TIMEOUT
        | StatusCode::INTERNAL_SERVER_ERROR
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let pause_s = header(http::header::RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok());
            let error = Error::Unavailable {
                server,
                status,
                message,
                attempts,
            };
            Next::Again(error, pause_s)
        }
        _ => Next::Stop(Error::Refused { status, kind, message }),
    }
}

/// Whether the question was too large, so that a smaller one may do. Prometheus says so with 422 (samples), 400 (points) or
/// 503 (time); Thanos, Mimir and `VictoriaMetrics` have more limits (series, chunks, bytes), also with 422 or 429.
fn is_too_much(status: StatusCode, kind: &str, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => true,
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::TOO_MANY_REQUESTS => {
            says(&["too many", "limit", "max number", "maximum", "exceed"])
                && !says(&["rate limit", "too many requests"])
        }
        StatusCode::BAD_REQUEST => says(&["maximum resolution", "too many", "exceeded"]),
        StatusCode::SERVICE_UNAVAILABLE => kind == "timeout",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn judged(status: u16, body: &str) -> (char, String) {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, "7".parse().unwrap());
        headers.insert(http::header::LOCATION, "https://x/".parse().unwrap());
        match judge(
            "http://p",
            StatusCode::from_u16(status).unwrap(),
            &headers,
            body.as_bytes(),
            2,
        ) {
            Next::Again(error, pause_s) => {
                assert_eq!(pause_s, Some(7));
                ('a', error.to_string())
            }
            Next::Less(error) => ('l', error.to_string()),
            Next::Stop(error) => ('s', error.to_string()),
        }
    }

    #[test]
    fn each_status_says_what_to_do() {
        let execution = |text: &str| format!(r#"{{"status":"error","errorType":"execution","error":"{text}"}}"#);
        for (status, body, next, words) in [
            (401, String::new(), 's', "give a token"),
            (403, "no".to_owned(), 's', "the right to query"),
            (404, "404 page not found".to_owned(), 's', "check --prometheus URL"),
            (405, String::new(), 's', "check --prometheus URL"),
            (302, String::new(), 's', "https://x/"),
            (
                422,
                execution("query processing would load too many samples into memory in query execution"),
                'l',
                "--query.max-samples",
            ),
            (
                422,
                execution("found duplicate series for the match group"),
                's',
                "duplicate series",
            ),
            (
                422,
                execution("the query hit the max number of series limit (limit: 100000 series)"),
                'l',
                "selector",
            ),
            (
                400,
                r#"{"errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries."}"#
                    .to_owned(),
                'l',
                "11,000",
            ),
            (
                400,
                r#"{"errorType":"bad_data","error":"1:3: parse error: unexpected right brace"}"#.to_owned(),
                's',
                "check the selector",
            ),
            (
                503,
                r#"{"errorType":"timeout","error":"query timed out in expression evaluation"}"#.to_owned(),
                'l',
                "--query.timeout",
            ),
            (
                503,
                "no healthy upstream".to_owned(),
                'a',
                "no healthy upstream; try again later",
            ),
            (
                503,
                r#"{"errorType":"canceled","error":"x"}"#.to_owned(),
                'a',
                "2 attempts",
            ),
            (429, "too many requests".to_owned(), 'a', "429"),
            (500, String::new(), 'a', "500"),
            (413, String::new(), 'l', "narrow"),
        ] {
            let (got, error) = judged(status, &body);
            assert_eq!(got, next, "{status} {body}: {error}");
            assert!(error.contains(words), "{status} {body}: {error}");
            assert!(error.starts_with("failed to "), "{error}");
        }
    }
}
