//! A policy with one part less must change a row of the table, or the table would not notice that the part is gone:
//! each statement, condition, value of a condition, action and resource in turn, and each resource widened to `*`.

use serde_json::Value;

use super::account::Account;
use super::table::{Of, policies, rows, stacks};

/// What was done to the policy, and what it is then.
type Mutant = (String, Value);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_with_one_part_less_changes_a_row() {
    let account = Account::open().await;
    let (plain, full) = stacks(&account).await;
    let policies = policies(&account, &plain, &full).await;
    let rows = rows(&account, &plain, &full);
    let (mut count, mut unnoticed) = (0, Vec::new());
    for of in [Of::Coordinator, Of::Bake, Of::BakeTrustWithCi, Of::WorkerTrust] {
        for (what, mutant) in mutants(&policies[&of]) {
            count += 1;
            let mut asked = rows.iter().filter(|row| row.of == of);
            if asked.all(|row| row.decided(&mutant) == row.is_allowed) {
                unnoticed.push(format!("{of:?}: {what}"));
            }
        }
    }
    println!("{count} mutants");
    assert!(count > 100, "only {count} mutants");
    assert!(unnoticed.is_empty(), "no row notices {} of {count}:\n{}", unnoticed.len(), unnoticed.join("\n"));
}

fn mutants(policy: &Value) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for (index, statement) in policy["Statement"].as_array().expect("statements").iter().enumerate() {
        let name = statement["Sid"].as_str().unwrap_or("the statement");
        let mut with = |what: String, change: &dyn Fn(&mut Value)| {
            let mut mutant = policy.clone();
            change(&mut mutant["Statement"][index]);
            mutants.push((format!("{name} {what}"), mutant));
        };
        // Nothing matches it then.
        with("is gone".to_owned(), &|it| it["Action"] = Value::Array(Vec::new()));
        for part in ["Action", "Resource"] {
            without_one(&statement[part], |number, less| {
                with(format!("without {}", statement[part][number]), &|it| it[part] = less.clone());
            });
        }
        if !statement["Resource"].is_null() && statement["Resource"] != "*" {
            with("on every resource".to_owned(), &|it| it["Resource"] = "*".into());
        }
        for (operator, keys) in statement["Condition"].as_object().into_iter().flatten() {
            for (key, values) in keys.as_object().expect("keys") {
                with(format!("without {operator} {key}"), &|it| {
                    it["Condition"][operator].as_object_mut().expect("keys").remove(key);
                });
                without_one(values, |number, less| {
                    with(format!("without {}", values[number]), &|it| it["Condition"][operator][key] = less.clone());
                });
            }
        }
    }
    mutants
}

/// A list of several without each of them.
fn without_one(list: &Value, mut found: impl FnMut(usize, Value)) {
    let several = list.as_array().filter(|list| list.len() > 1);
    for number in 0..several.map_or(0, Vec::len) {
        let mut less = several.expect("a list").clone();
        less.remove(number);
        found(number, Value::Array(less));
    }
}
