//! Thresholds of the policy as notes of a plan tell them: `spillway.v1` has no field for them.

/// Jobs ready to run, and the instances that are desired from there on where the note says it.
pub(super) fn in_note(note: &str) -> Option<(u64, Option<u32>)> {
    let (_, rest) = note.split_once(" ready to run: ")?;
    if let Some((jobs, rest)) = rest.split_once(" or more for ") {
        let instances = rest.rsplit_once(", then ").and_then(|(_, it)| it.split(' ').next()?.parse().ok());
        return Some((jobs.parse().ok()?, instances));
    }
    let (jobs, _) = rest.strip_prefix("below the next step (")?.split_once(')')?;
    Some((jobs.parse().ok()?, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sentences are held to the brain's by `operations.md`.
    #[test]
    fn a_note_names_the_threshold_that_is_met_or_comes_next() {
        let of = |note: &str| in_note(note);
        assert_eq!(
            of("7 jobs ready to run: 5 or more for 2 min of 5 min, then 1 instance desired"),
            Some((5, Some(1)))
        );
        assert_eq!(of("1 job ready to run: 1 or more for 1 s of 5 s, then 12 instances desired"), Some((1, Some(12))));
        let below = "2 jobs ready to run: below the next step (5), so 0 instances desired as before";
        assert_eq!(of(below), Some((5, None)));
        for other in
            ["no jobs ready to run", "40 jobs ready to run: the highest step is reached, 2 instances desired", ""]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
