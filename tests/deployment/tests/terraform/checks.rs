//! Form, sense, the tests that are written in Terraform itself, and what scanners find.

use std::time::Duration;

use kompass_deployment_tests::{project, run};
use kompass_local_cluster::progress::Progress;
use kompass_local_cluster::python;
use serde_json::Value;
use tokio::process::Command;

use kompass_deployment_tests::terraform::Workspace;

const CHECKOV: &str = "checkov==3.3.30";
const CHECKOV_LIMIT: Duration = Duration::from_mins(5);

#[tokio::test]
async fn form_and_sense_are_right_and_its_own_tests_pass() {
    let workspace = Workspace::new().await.unwrap();
    let told = workspace.terraform(&["version", "-json"]).await.unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    // Another machine may have another provider of the range: whoever reads a failure sees which.
    let provider = told["provider_selections"]["registry.terraform.io/hashicorp/aws"].as_str();
    let tested = tested(&std::fs::read_to_string(workspace.path().join("README.md")).unwrap());
    println!(
        "Terraform {}, hashicorp/aws {}; terraform/README.md says that it was tested with hashicorp/aws {tested}",
        told["terraform_version"].as_str().unwrap_or_default(),
        provider.expect("a provider was chosen")
    );
    let (code, files) = workspace
        .outcome(&["fmt", "-check", "-recursive", "-no-color"])
        .await
        .unwrap();
    assert_eq!(code, Some(0), "`terraform fmt -recursive terraform` changes:\n{files}");
    let told = workspace.terraform(&["validate", "-json"]).await.unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["valid"], true);
    // Warnings are of what the next provider no longer knows.
    assert_eq!(told["diagnostics"], serde_json::json!([]));
    let told = workspace.terraform(&["test", "-no-color"]).await.unwrap();
    assert!(told.contains("Success!") && told.contains(" 0 failed"), "{told}");
}

/// The version of the provider that the README says the tests were run with.
fn tested(readme: &str) -> String {
    let (_, rest) = readme.split_once("The tests were run with ").unwrap();
    rest.split(' ').next().unwrap().to_owned()
}

/// The range allows more than one major version: a reader must learn which one was tried.
#[test]
fn the_readme_names_a_tested_provider_of_the_range_that_is_required() {
    let folder = project().join("terraform");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let versions = read("versions.tf");
    let (_, provider) = versions.split_once("\"hashicorp/aws\"").unwrap();
    let (_, range) = provider.split_once("version = \">= ").unwrap();
    let (least, range) = range.split_once(", < ").unwrap();
    let below = range.split_once('"').unwrap().0;
    let numbers = |version: &str| -> Vec<u32> { version.split('.').map(|part| part.parse().unwrap()).collect() };
    let tested = tested(&read("README.md"));
    assert_eq!(numbers(&tested).len(), 3, "{tested}");
    assert!(
        numbers(least) <= numbers(&tested) && numbers(&tested) < numbers(below),
        "{tested} is not of >= {least}, < {below}"
    );
}

/// Each finding is mended, or waived where it is with a reason.
#[tokio::test]
async fn checkov_finds_nothing() {
    let python = python::ensure("checkov", &[CHECKOV], &Progress::lines()).await.unwrap();
    let folder = project().join("terraform");
    let mut checkov = Command::new(&python);
    checkov.arg(python.with_file_name("checkov"));
    checkov.args([
        "--framework",
        "terraform",
        "--output",
        "json",
        "--compact",
        "--skip-download",
        "--directory",
    ]);
    checkov.arg(&folder);
    let output = run(&mut checkov, CHECKOV_LIMIT).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    });
    let results = &told["results"];
    let failed = results["failed_checks"].as_array().unwrap();
    let failed: Vec<String> = failed
        .iter()
        .map(|check| format!("{} {} {}", check["check_id"], check["check_name"], check["resource"]))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert_eq!(told["summary"]["parsing_errors"], 0);
    assert!(told["summary"]["passed"].as_u64().unwrap() > 100, "{}", told["summary"]);
    for waived in results["skipped_checks"].as_array().unwrap() {
        let reason = waived["check_result"]["suppress_comment"].as_str().unwrap_or_default();
        assert!(reason.len() > 20, "a waiver without a reason: {waived}");
    }
}

/// Whoever reads prices finds a source and a date with each, and all that is billed by the hour.
#[test]
fn prices_have_a_source_and_a_date() {
    let text = std::fs::read_to_string(project().join("terraform/prices.json")).unwrap();
    let told: Value = serde_json::from_str(&text).unwrap();
    for field in ["currency", "as_of", "region", "note"] {
        assert!(told[field].as_str().is_some_and(|text| !text.is_empty()), "{field}");
    }
    let prices = told["hourly"].as_object().unwrap();
    for what in ["eks_cluster", "nat_gateway", "interface_endpoint", "public_ipv4"] {
        assert!(prices.contains_key(what), "{what}");
    }
    let instances = told["instances"].as_object().unwrap();
    // The first types of the variables' defaults, which the output `billed` names.
    for what in ["m6i.large", "m6i.2xlarge"] {
        assert!(instances.contains_key(what), "{what}");
    }
    for (what, price) in prices.iter().chain(instances) {
        let dollars = price["price"].as_f64().unwrap();
        assert!(dollars > 0.0 && dollars < 100.0, "{what}");
        assert!(
            price["source"].as_str().unwrap().starts_with("https://aws.amazon.com/"),
            "{what}"
        );
    }
}
