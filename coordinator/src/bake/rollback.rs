//! Which image launches took before. Pure.

/// Why there is nothing to go back to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollbackError {
    #[error("the parameter has named no other image than {0}: there is nothing to go back to")]
    NoOther(String),
    #[error("there is no such parameter, and so no image: spillway bake makes one")]
    NoParameter,
    #[error("{0} was never what launches took. They were, the newest last: {1}")]
    Never(String, String),
}

/// The images to go back to, the latest first: each that the parameter named before the one that it names now. After a
/// rollback the image that was left is not among them again.
///
/// # Errors
/// There is none, or the one that is asked for was none.
pub fn earlier(history: &[String], asked: Option<&str>) -> Result<Vec<String>, RollbackError> {
    let current = history.last().ok_or(RollbackError::NoParameter)?;
    if let Some(asked) = asked {
        return match history.iter().any(|image| image == asked) {
            true => Ok(vec![asked.to_owned()]),
            false => Err(RollbackError::Never(asked.to_owned(), history.join(", "))),
        };
    }
    // Before it was named for the first time: what came later was left.
    let first = history.iter().position(|image| image == current).unwrap_or(0);
    let mut before: Vec<String> = Vec::new();
    for image in history[..first].iter().rev() {
        if !before.contains(image) {
            before.push(image.clone());
        }
    }
    if before.is_empty() { Err(RollbackError::NoOther(current.clone())) } else { Ok(before) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_is_what_was_before_and_further_back_what_was_before_that() {
        let history = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(earlier(&history(&["a", "b", "c"]), None).expect("two"), ["b", "a"]);
        assert_eq!(earlier(&history(&["a", "b", "c", "b"]), None).expect("one"), ["a"], "not to c, which was left");
        assert_eq!(earlier(&history(&["a", "b", "c"]), Some("a")).expect("it"), ["a"]);
        assert!(matches!(earlier(&history(&["a", "a"]), None), Err(RollbackError::NoOther(_))));
        assert_eq!(earlier(&[], None), Err(RollbackError::NoParameter));
        assert!(matches!(earlier(&history(&["a"]), Some("x")), Err(RollbackError::Never(..))));
    }
}
