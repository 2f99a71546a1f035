//! The user data of builder and canary.

use super::run::Way;
use crate::cloud::images::WorkerTemplate;

/// As EC2 has it, before it is encoded.
#[cfg(test)]
const LONGEST: usize = 16 * 1024;

const BUILDER: &str = include_str!("builder.sh");
const CANARY: &str = include_str!("canary.sh");
const PREPARE: &str = include_str!("../../../ami/prepare-image.sh");

const BEGINS: &str = "-----BEGIN CERTIFICATE-----";
const ENDS: &str = "-----END CERTIFICATE-----";

/// What the builder runs.
pub fn builder(bake: &str, way: &Way) -> String {
    let options = [("--stop", &way.stopped), ("--erase", &way.erased), ("--allow", &way.allowed)];
    let words = options.into_iter().flat_map(|(option, names)| names.iter().map(move |name| (option, name)));
    let words: Vec<String> = words.map(|(option, name)| format!("{option} {}", quoted(name))).collect();
    BUILDER.replace("@BAKE@", bake).replace("@ALLOWED@", &words.join(" ")).replace("@PREPARE@", &brief(PREPARE))
}

/// What the canary runs. It is told of the coordinator what the template's user data tells workers.
pub fn canary(bake: &str, template: &WorkerTemplate) -> String {
    let told = &template.user_data;
    let coordinator = told.lines().find_map(|line| line.trim().strip_prefix("coordinator="));
    let is_url = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":/.-[]".contains(&byte));
    let ca = match (told.find(BEGINS), told.rfind(ENDS)) {
        (Some(from), Some(to)) if from < to => &told[from..to + ENDS.len()],
        _ => "",
    };
    let is_pem = ca.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=- \r\n".contains(&byte));
    CANARY
        .replace("@BAKE@", bake)
        .replace("@COORDINATOR@", coordinator.filter(is_url).unwrap_or_default())
        .replace("@CA@", if is_pem { ca } else { "" })
}

/// Without the lines that only a reader needs: user data has little room.
fn brief(script: &str) -> String {
    let needed = script.lines().filter(|line| !line.trim_start().starts_with("# "));
    needed.collect::<Vec<_>>().join("\n")
}

/// A word of a shell's.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(user_data: &str) -> WorkerTemplate {
        WorkerTemplate {
            image: String::new(),
            instance_type: String::new(),
            subnet: None,
            groups: Vec::new(),
            user_data: user_data.to_owned(),
        }
    }

    #[test]
    fn user_data_fits_and_has_no_placeholder_left() {
        let ca = format!("{BEGINS}\nQUJD\n{ENDS}\n{BEGINS}\nREVG\n{ENDS}");
        let told = format!("#!/bin/bash\ncoordinator=https://10.0.0.5:7443\nca='\n{ca}\n'\n");
        let canary = canary("b", &template(&told));
        assert!(
            canary.contains("coordinator=https://10.0.0.5:7443\n") && canary.contains(&format!("ca='{ca}'")),
            "{canary}"
        );
        let way = Way {
            keeps: 1,
            tries: true,
            keeps_failed: false,
            allowed: vec!["AWS_ACCESS_KEY_ID".to_owned(), "it's".to_owned()],
            stopped: vec!["docker".to_owned()],
            erased: vec!["/data/redis".to_owned()],
        };
        let builder = builder("b", &way);
        assert!(builder.contains("--stop-services --stop 'docker' --erase '/data/redis' --allow 'AWS"), "{builder}");
        assert!(builder.contains(r"--allow 'AWS_ACCESS_KEY_ID' --allow 'it'\''s'"), "{builder}");
        for script in [builder, canary] {
            assert!(
                script.starts_with("#!/bin/bash\n") && !script.contains('@') || script.contains("@reboot"),
                "{script}"
            );
            assert!(script.len() < LONGEST, "{} bytes", script.len());
            for name in ["@BAKE@", "@PREPARE@", "@ALLOWED@", "@CA@", "@COORDINATOR@"] {
                assert!(!script.contains(name), "{name}");
            }
        }
    }

    /// Whoever may change the template's user data may not add to what the canary runs by it, so that a broken template
    /// breaks nothing else.
    #[test]
    fn of_a_templates_user_data_only_an_address_and_certificates_are_taken() {
        let canary = canary(
            "b",
            &template("coordinator=$(reboot)\nca='-----BEGIN CERTIFICATE-----';reboot;'-----END CERTIFICATE-----'\n"),
        );
        assert!(!canary.contains("reboot)") && !canary.contains(";reboot"), "{canary}");
        assert!(canary.contains("coordinator=\n") && canary.contains("ca=''"), "{canary}");
    }
}
