//! Where AWS' services are said to answer: the variables by which the SDK is led elsewhere. Of one that is no URL the
//! SDK only says what it misses in it.

use std::collections::BTreeMap;

use tonic::transport::Uri;

use super::{Finding, Level};

const ID: &str = "aws.endpoint";
/// By which EC2 is found. STS has rules of its own: `config`.
const OF_EC2: [&str; 2] = ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2"];
/// By which what only `doctor` asks is found.
const OF_OTHERS: [&str; 2] = ["AWS_ENDPOINT_URL_IAM", "AWS_ENDPOINT_URL_SERVICE_QUOTAS"];

/// The first variable by which EC2 cannot be found: nothing can be asked there.
pub(super) fn of_ec2(environment: &BTreeMap<String, String>) -> Option<Finding> {
    wrong(environment, &OF_EC2)
}

/// The first variable by which another service cannot be found: launches do not need it.
pub(super) fn of_others(environment: &BTreeMap<String, String>) -> Option<Finding> {
    wrong(environment, &OF_OTHERS).map(|finding| Finding { level: Level::Warn, ..finding })
}

fn wrong(environment: &BTreeMap<String, String>, variables: &[&str]) -> Option<Finding> {
    variables.iter().find_map(|name| {
        let value = environment.get(*name).filter(|value| !value.is_empty())?;
        let is_usable = value.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
        });
        (!is_usable).then(|| {
            let shown = spillway_words::shown::visible_line(value);
            let detail = format!("{name} is \"{shown}\", which is no URL of an endpoint");
            Finding::fail(ID, detail, format!("unset {name} to ask AWS, or write https://HOST or http://HOST:PORT"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_no_url_is_named_with_its_value() {
        let of = |name: &str, value: &str| {
            let environment = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            of_ec2(&environment).or_else(|| of_others(&environment))
        };
        for name in OF_EC2.into_iter().chain(OF_OTHERS) {
            for value in ["nonsense", "http://", "127.0.0.1:7470", "ftp://host", "https:// x", "/", "http:"] {
                let found = of(name, value).unwrap_or_else(|| panic!("{name} {value}"));
                assert_eq!(found.level, if OF_EC2.contains(&name) { Level::Fail } else { Level::Warn });
                assert!(found.detail.contains(name) && found.detail.contains(value), "{found:?}");
                assert!(found.remedy.is_some_and(|remedy| remedy.contains(name)));
            }
            for value in ["", "https://ec2.us-east-1.amazonaws.com", "http://127.0.0.1:7470", "http://[::1]:7470/"] {
                assert_eq!(of(name, value), None, "{name} {value}");
            }
        }
        assert_eq!(of("AWS_ENDPOINT_URL_S3", "nonsense"), None, "nothing here asks S3");
    }
}
