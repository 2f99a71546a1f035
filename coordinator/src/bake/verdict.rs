//! What builder and canary say at their end, in a line on the console.

use crate::cloud::images::Part;

/// What is found on a console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// With what the script said.
    Bad(String),
}

/// What begins each line of a bake's on a console.
pub const PREFIX: &str = "spillway bake:";

impl Verdict {
    /// The last verdict on a console of this part of this bake; None where it says none.
    ///
    /// It names the bake, since a console may show what a copied log says of an earlier one.
    pub fn read(console: &str, bake: &str, part: Part) -> Option<Self> {
        let begins = format!("{PREFIX} verdict {bake} {} ", part.name());
        let said = console.lines().rev().find_map(|line| Some(line.split_once(&begins)?.1.trim().to_owned()))?;
        Some(match said.split_once(' ').unwrap_or((&said, "")) {
            ("ok", _) => Self::Good,
            (_, why) => Self::Bad(if why.is_empty() { said.clone() } else { why.to_owned() }),
        })
    }
}

/// The last lines of a console that a bake's script wrote, for a person.
pub fn lines(console: &str, most: usize) -> Vec<String> {
    let said = console.lines().filter_map(|line| Some(line.split_once(PREFIX)?.1.trim().to_owned()));
    let mut said: Vec<String> = said.filter(|line| !line.starts_with("verdict ")).collect();
    said.dedup();
    said.split_off(said.len().saturating_sub(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_of_one_part_of_one_bake_and_the_last_one_counts() {
        let console = "[  9.1] cloud-init[77]: spillway bake: verdict 20261129T031245Z builder failed no config\r\n\
                       spillway bake: verdict 20261129T031245Z builder ok\nspillway bake: verdict old canary ok\n";
        let read = |bake: &str, part| Verdict::read(console, bake, part);
        assert_eq!(read("20261129T031245Z", Part::Builder), Some(Verdict::Good));
        assert_eq!(read("20261129T031245Z", Part::Canary), None);
        assert_eq!(read("20261129T031246Z", Part::Builder), None);
        let failed = "spillway bake: verdict b builder failed the unit is missing";
        let expected = Verdict::Bad("the unit is missing".to_owned());
        assert_eq!(Verdict::read(failed, "b", Part::Builder), Some(expected));
        assert_eq!(
            Verdict::read("spillway bake: verdict b builder okay", "b", Part::Builder),
            Some(Verdict::Bad("okay".to_owned()))
        );
    }
}
