//! What a queue file may say, and how each mistake is answered.

use std::collections::BTreeMap;

use kompass_planner::{Limits, Packing};
use kompass_queues::{Error, MAX_BYTES, MAX_QUEUES, QueueRules, QueueTable, parse, view};
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

/// An error with its causes in one line, as it is logged.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn refused(text: &str) -> String {
    words(&parse(text.as_bytes()).expect_err(text))
}

#[test]
fn everything_that_a_queue_may_say_is_read() {
    let text = r#"
# who may have what
version: 1
queues:
  - name: etl
    weight: 2
    guaranteed: { cpu: "100", memory: 400Gi, pods: 300 }
    limit: { cpu: 200500m, memory: 1e12, nvidia.com/gpu: 4, ephemeral-storage: 1Ti, hugepages-2Mi: 4Mi }
    packing: min-fragmentation
    namespaces: [team-etl, "etl-2"]
  - name: Ad_hoc.2
"#;
    let etl = QueueRules {
        weight: 2,
        guaranteed: Limits {
            cpu_milli: Some(100_000),
            memory_bytes: Some(400 * GIB),
            pods: Some(300),
            ..Limits::default()
        },
        limit: Limits {
            cpu_milli: Some(200_500),
            memory_bytes: Some(1_000_000_000_000),
            pods: None,
            extended: BTreeMap::from(
                [
                    ("nvidia.com/gpu", 4),
                    ("ephemeral-storage", 1 << 40),
                    ("hugepages-2Mi", 4 << 20),
                ]
                .map(|(name, units)| (name.to_owned(), units)),
            ),
        },
        packing: Some(Packing::MinFragmentation),
        namespaces: ["team-etl", "etl-2"].map(String::from).into(),
    };
    let queues = [("etl", etl), ("Ad_hoc.2", QueueRules::default())];
    let queues = queues.map(|(name, rules)| (name.to_owned(), rules)).into();
    assert_eq!(parse(text.as_bytes()).unwrap(), QueueTable { queues });
}

#[test]
fn the_example_is_right() {
    let names: Vec<String> = parse(kompass_queues::EXAMPLE.as_bytes())
        .unwrap()
        .queues
        .into_keys()
        .collect();
    assert_eq!(names, ["adhoc", "etl"]);
}

#[test]
fn no_queues_are_no_mistake_and_json_is_yaml() {
    for text in [
        "version: 1",
        "version: 1\nqueues: []\n",
        "version: 1\nqueues:\n",
        "---\nversion: 1\r\nqueues: []\r\n",
        "\u{feff}version: 1\n",
        r#"{"version": 1, "queues": []}"#,
    ] {
        assert_eq!(parse(text.as_bytes()).unwrap(), QueueTable::default(), "{text:?}");
    }
    let json = r#"{"version": 1, "queues": [{"name": "a", "limit": {"cpu": 1.5, "memory": 1024}, "weight": 1000}]}"#;
    let table = parse(json.as_bytes()).unwrap();
    let rules = &table.queues["a"];
    assert_eq!(
        (rules.weight, rules.limit.cpu_milli, rules.limit.memory_bytes),
        (1_000, Some(1_500), Some(1_024))
    );
}

/// One queue with these lines.
fn queue(lines: &str) -> String {
    format!("version: 1\nqueues:\n  - name: etl\n    {lines}\n")
}

#[test]
fn a_file_of_the_wrong_shape_says_where_and_what_to_do() {
    let long = "x".repeat(64);
    for (text, wanted) in [
        (String::new(), &["no `version`", "write `version: 1`"][..]),
        ("queues: []".into(), &["no `version`"]),
        (
            "version: 2\nqueues: {}\nmore: 1".into(),
            &["line 1, column 10", "version 2", "version 1"],
        ),
        ("version: one".into(), &["line 1, column 10"]),
        (
            "version: 1\nqueue: []".into(),
            &["line 2", "no field `queue`", "`queues`"],
        ),
        ("version: 1\nversion: 1".into(), &["line 2", "`version` is there twice"]),
        ("version: 1\nqueues: 5".into(), &["line 2", "a list"]),
        ("version: 1\nqueues: [".into(), &["line 2"]),
        ("version: 1\n---\nversion: 1\n".into(), &["line 2", "second document"]),
        ("just words".into(), &["line 1", "fields"]),
        ("[]".into(), &["line 1"]),
        (
            "version: 1\nqueues: [&a {name: x}, *a]".into(),
            &["line 2", "aliases", "once more"],
        ),
        ("version: 1\nqueues: [{weight: 1}]".into(), &["line 2", "`name`"]),
        ("version: 1\nqueues: [{name: }]".into(), &["line 2"]),
        (
            "version: 1\nqueues: [{name: ''}]".into(),
            &["\"\"", "line 2, column 17", "label value"],
        ),
        (
            "version: 1\nqueues: [{name: a b}]".into(),
            &["\"a b\"", "line 2, column 17"],
        ),
        ("version: 1\nqueues: [{name: -a}]".into(), &["\"-a\"", "both ends"]),
        (format!("version: 1\nqueues: [{{name: {long}}}]"), &[&long, "1 to 63"]),
    ] {
        says(&text, wanted);
    }
}

#[test]
fn a_wrong_queue_says_where_and_what_to_do() {
    for (text, wanted) in [
        (
            queue("") + "  - name: b\n  - name: etl",
            &["\"etl\"", "line 6, column 11", "(line 3, column 11)", "rename"][..],
        ),
        (queue("limits: {}"), &["line 4", "limits", "`limit`"]),
        (
            queue("weight: 0"),
            &["weight 0", "\"etl\"", "line 4, column 13", "from 1 to 1000"],
        ),
        (queue("weight: -3"), &["weight -3"]),
        (queue("weight: 1001"), &["weight 1001"]),
        (queue("weight: 1.5"), &["line 4, column 13"]),
        (queue("weight: two"), &["line 4, column 13", "whole number"]),
        (
            queue("packing: dense"),
            &[
                "packing \"dense\" of the queue \"etl\"",
                "line 4, column 14",
                "`single-zone-preferred`, `single-zone`, `min-fragmentation`, `tight`, `balanced`",
            ],
        ),
        (queue("packing: Tight"), &["\"Tight\"", "line 4, column 14"]),
        (queue("packing: [tight]"), &["line 4"]),
        (
            queue("limit: { cpu: 1Q }"),
            &[
                "cpu in `limit` of the queue \"etl\"",
                "line 4, column 19",
                "\"1Q\"",
                "suffix",
            ],
        ),
        (
            queue("limit: { memory: -1 }"),
            &["memory in `limit`", "line 4", "negative"],
        ),
        (queue("limit: { memory: 1e30 }"), &["too large"]),
        (queue("limit: { memory: }"), &["line 4", "nothing stands here"]),
        (queue("limit: { memory: [1] }"), &["line 4"]),
        (queue("limit: 5"), &["line 4"]),
        (
            queue("guaranteed: { pods: 1.5 }"),
            &["pods in `guaranteed`", "line 4, column 25", "\"1.5\"", "whole"],
        ),
        (queue("guaranteed: { a.b/c: 500m }"), &["a.b/c", "whole"]),
        (
            queue("guaranteed: { mem: 1Gi }"),
            &["\"mem\" in `guaranteed`", "line 4, column 24", "`memory`"],
        ),
        (queue("limit: { requests.cpu: 1 }"), &["\"requests.cpu\"", "`cpu`"]),
        (
            queue("limit: { requests.nvidia.com/gpu: 1 }"),
            &["\"requests.nvidia.com/gpu\""],
        ),
        (queue("limit: { hugepages-: 1 }"), &["\"hugepages-\""]),
        (queue("limit: { cpu: 1, cpu: 2 }"), &["line 4", "`cpu` is there twice"]),
        (
            queue("guaranteed: { cpu: 2, memory: 2Gi }\n    limit: { cpu: 1500m }"),
            &["\"etl\"", "line 3, column 11", "2 cpu", "limit is 1500m", "raise"],
        ),
        (
            queue("namespaces: [Team]"),
            &["\"Team\"", "\"etl\"", "line 4, column 18", "lower-case"],
        ),
        (queue("namespaces: [a, '']"), &["\"\"", "line 4, column 21"]),
        (queue("namespaces: a"), &["line 4"]),
        (
            queue("namespaces: [a, b, a]"),
            &["\"a\"", "line 4, column 24", "(line 4, column 18)"],
        ),
        (
            queue("namespaces: [a, b]") + "  - name: ml\n    namespaces: [c, b]",
            &[
                "\"b\" of the queue \"ml\" (line 6, column 21)",
                "\"etl\"",
                "(line 4, column 21)",
                "one of them",
            ],
        ),
    ] {
        says(&text, wanted);
    }
}

/// All that is wanted is said, in one line.
fn says(text: &str, wanted: &[&str]) {
    let said = refused(text);
    for wanted in wanted {
        assert!(said.contains(wanted), "{text}\n--> {said}\n    does not say {wanted}");
    }
    assert!(said.starts_with("failed to ") && !said.contains('\n'), "{said}");
}

#[test]
fn files_beyond_any_use_are_refused() {
    let mut text = "version: 1\n#".to_owned();
    text.push_str(&"x".repeat(MAX_BYTES - text.len()));
    assert!(parse(text.as_bytes()).is_ok());
    text.push('x');
    assert!(matches!(parse(text.as_bytes()), Err(Error::TooLarge)));

    let many = |count: usize| {
        let queues = (0..count).map(|number| format!("  - name: q{number}\n"));
        format!("version: 1\nqueues:\n{}", queues.collect::<String>())
    };
    assert_eq!(parse(many(MAX_QUEUES).as_bytes()).unwrap().queues.len(), MAX_QUEUES);
    let said = refused(&many(MAX_QUEUES + 1));
    assert!(said.contains("1001 queues") && said.contains("at most 1000"), "{said}");

    let said = words(&parse(b"version: 1\n# \xff\n").unwrap_err());
    assert!(said.contains("line 2 is not UTF-8"), "{said}");
    let utf16: Vec<u8> = "version: 1".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(parse(&utf16).is_err());
}

#[test]
fn what_is_wrong_is_not_repeated_at_length() {
    let long = "y".repeat(10_000);
    for text in [
        format!("version: 1\nqueues: [{{name: {long}}}]"),
        queue(&format!("limit: {{ cpu: {long} }}")),
        queue(&format!("limit: {{ ? {long}\n     : 1 }}")),
        queue(&format!("namespaces: [{long}]")),
        queue(&format!("packing: {long}")),
    ] {
        let said = refused(&text);
        assert!(said.len() < 500, "{said}");
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    let bytes = || {
        prop_oneof![
            any::<u64>(),
            (0_u64..64, 0_u64..1024).prop_map(|(power, times)| times << (power % 54))
        ]
    };
    let extended = prop::collection::btree_map(
        prop_oneof![
            "[a-z]{1,9}\\.[a-z]{1,9}/[a-zA-Z]{1,9}",
            Just("ephemeral-storage".to_owned())
        ],
        bytes(),
        0..3,
    );
    let amount = |amount| prop::option::of(amount);
    (
        amount(any::<u64>().boxed()),
        amount(bytes().boxed()),
        amount(any::<u64>().boxed()),
        extended,
    )
        .prop_map(|(cpu_milli, memory_bytes, pods, extended)| Limits {
            cpu_milli,
            memory_bytes,
            pods,
            extended,
        })
}

proptest! {
    #[test]
    fn what_is_shown_means_the_same_in_a_file(limit in limits(), guaranteed in limits(), weight in 1_u32..=1_000, packing in prop::option::of(prop::sample::select(&Packing::ALL[..])), spaces in prop::collection::btree_set("[a-z0-9]{1,20}", 0..4)) {
        let rules = QueueRules { weight, limit, guaranteed: Limits::default(), packing, namespaces: spaces };
        let other = QueueRules { guaranteed, ..QueueRules::default() };
        let table = QueueTable { queues: [("a".to_owned(), rules), ("b".to_owned(), other)].into() };
        let file = serde_json::json!({ "version": 1, "queues": view::queues(&table) }).to_string();
        prop_assert_eq!(parse(file.as_bytes()).unwrap(), table);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_text_of_the_right_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "version", "queues", "name", "weight", "limit", "guaranteed", "namespaces", "cpu", ": ", ":", "- ", "\n", "\n  ", "\n    ",
        "{", "}", "[", "]", ",", "1", "-1", "400Gi", "\"", "'", "&a ", "*a", "!!str ", "|", ">", "~", "#", "a", "<<", "? ", "---\n", "\t",
    ]), 0..60)) {
        let _ = parse(words.concat().as_bytes());
        let _ = parse(format!("version: 1\nqueues:\n{}", words.concat()).as_bytes());
    }
}
