//! Prices, as AWS writes them, in whole numbers. Pure.

use serde_json::Value;

use super::Micros;

/// A decimal number of dollars in millionths, rounded up; none if it isn't one.
pub fn micros(text: &str) -> Option<Micros> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let (told, rest) = fraction.split_at(fraction.len().min(6));
    let told: u64 = format!("{told:0<6}").parse().ok()?;
    let more = u64::from(rest.bytes().any(|byte| byte != b'0'));
    whole.checked_mul(1_000_000)?.checked_add(told)?.checked_add(more)
}

/// The type and the price on demand of an entry of the price list; none if it is about something else, or free.
pub fn on_demand(entry: &str) -> Option<(String, Micros)> {
    let entry: Value = serde_json::from_str(entry).ok()?;
    let name = entry["product"]["attributes"]["instanceType"].as_str()?;
    let terms = entry["terms"]["OnDemand"].as_object()?;
    let mut dimensions = terms
        .values()
        .filter_map(|term| term["priceDimensions"].as_object())
        .flat_map(|dimensions| dimensions.values())
        .filter(|dimension| dimension["unit"].as_str() == Some("Hrs"));
    let dollars = dimensions.find_map(|dimension| dimension["pricePerUnit"]["USD"].as_str())?;
    // What is reserved is listed once more, for nothing.
    micros(dollars)
        .filter(|price| *price > 0)
        .map(|price| (name.to_owned(), price))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, expected) in [
            ("0.3840000000", Some(384_000)),
            ("0.00001", Some(10)),
            ("0.0000001", Some(1)),
            ("12", Some(12_000_000)),
            (".5", Some(500_000)),
            ("", None),
            (".", None),
            ("-1", None),
            ("1e3", None),
            ("99999999999999999999", None),
            ("18446744073710.0", None),
        ] {
            assert_eq!(micros(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_entry_of_the_price_list_is_read() {
        let entry = |price: &str| {
            format!(
                r#"{{"product":{{"attributes":{{"instanceType":"m6i.2xlarge"}}}},"terms":{{"OnDemand":{{"X.Y":{{
                "priceDimensions":{{"X.Y.Z":{{"unit":"Hrs","pricePerUnit":{{"USD":"{price}"}}}}}}}}}}}}}}"#
            )
        };
        assert_eq!(on_demand(&entry("0.46")), Some(("m6i.2xlarge".to_owned(), 460_000)));
        assert_eq!(on_demand(&entry("0.0000000000")), None);
        assert_eq!(on_demand(&entry("0.46").replace("Hrs", "Quantity")), None);
        assert_eq!(on_demand("{}"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[-0-9.é ]{0,24}", entry in ".{0,60}") {
            let _ = micros(&text);
            let _ = on_demand(&entry);
        }

        #[test]
        fn what_is_written_is_read(price in 0_u64..1_000_000_000_000) {
            let text = format!("{}.{:06}0000", price / 1_000_000, price % 1_000_000);
            prop_assert_eq!(micros(&text), Some(price));
        }
    }
}
