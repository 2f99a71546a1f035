//! Pages of lists: MaxResults and NextToken.
//!
//! A page's mark is the last record's place in the order of creation, so that a list may change between two pages
//! without records being shown twice or skipped.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE as BASE64;

use super::View;
use crate::error::ApiError;
use crate::query::Params;
use crate::xml::Xml;

const MARK: &str = "spillway-page:";

/// Which page is requested.
#[derive(Debug)]
pub(crate) struct Page {
    after: Option<u64>,
    limit: usize,
}

/// The records of a page, and the mark of the next one.
#[derive(Debug)]
pub(crate) struct Paged<T> {
    pub(crate) items: Vec<T>,
    next: Option<u64>,
}

impl Page {
    /// `range` is what EC2 allows as MaxResults for this action.
    pub(crate) fn read(
        view: &View<'_>,
        params: &mut Params,
        range: std::ops::RangeInclusive<usize>,
    ) -> Result<Self, ApiError> {
        let requested = params.number::<usize>("MaxResults")?;
        if let Some(requested) = requested
            && !range.contains(&requested)
        {
            return Err(ApiError::invalid_value(format!(
                "Value ( {requested} ) for parameter maxResults is invalid. Expecting a value between {} and {}.",
                range.start(),
                range.end()
            )));
        }
        let after = params.take("NextToken").filter(|token| !token.is_empty()).map(|token| read_mark(&token));
        let limit = requested.unwrap_or(*range.end()).min(view.page_size.unwrap_or(usize::MAX));
        Ok(Self { after: after.transpose()?, limit })
    }

    pub(crate) fn is_requested(params: &Params) -> bool {
        let parameters = params.fingerprint();
        parameters.contains_key("MaxResults") || parameters.contains_key("NextToken")
    }

    /// The page out of `items`, whose places in the order of creation `seq` returns.
    pub(crate) fn of<T>(&self, items: impl IntoIterator<Item = T>, seq: impl Fn(&T) -> u64) -> Paged<T> {
        let mut items: Vec<T> =
            items.into_iter().filter(|item| self.after.is_none_or(|after| seq(item) > after)).collect();
        items.sort_by_key(|item| seq(item));
        let more = items.len() > self.limit;
        items.truncate(self.limit);
        let next = if more { items.last().map(&seq) } else { None };
        Paged { items, next }
    }
}

impl<T> Paged<T> {
    pub(crate) fn write_next(&self, xml: &mut Xml) {
        xml.optional("nextToken", self.next.map(|seq| BASE64.encode(format!("{MARK}{seq}"))));
    }
}

fn read_mark(token: &str) -> Result<u64, ApiError> {
    BASE64
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix(MARK)?.parse().ok())
        .ok_or_else(|| ApiError::new("InvalidNextToken", "The token is invalid"))
}
