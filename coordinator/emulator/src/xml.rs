//! The XML of answers: nested elements, text, and EC2's lists of `<item>`. Only writes, never reads.

use quick_xml::escape::escape;

/// A piece of XML under construction.
#[derive(Debug, Default)]
pub(crate) struct Xml(String);

impl Xml {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn text(&mut self, name: &str, value: impl AsRef<str>) -> &mut Self {
        self.open(name);
        // XML 1.0 has no way to write most control characters, not even escaped.
        let value = value.as_ref().replace(|c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r'), "\u{fffd}");
        self.0.push_str(&escape(value.as_str()));
        self.close(name)
    }

    pub(crate) fn number(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.text(name, value.to_string())
    }

    pub(crate) fn optional(&mut self, name: &str, value: Option<impl AsRef<str>>) -> &mut Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    pub(crate) fn node(&mut self, name: &str, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.open(name);
        fill(self);
        self.close(name)
    }

    /// `<name><item>…</item>…</name>`
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.open(name);
        for item in items {
            self.node("item", |xml| fill(xml, item));
        }
        self.close(name)
    }

    /// `<name><item>text</item>…</name>`
    pub(crate) fn texts<T: AsRef<str>>(&mut self, name: &str, items: impl IntoIterator<Item = T>) -> &mut Self {
        self.open(name);
        for item in items {
            self.text("item", item);
        }
        self.close(name)
    }

    fn open(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
    }

    fn close(&mut self, name: &str) -> &mut Self {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
        self
    }
}

/// The whole document of a successful answer.
pub(crate) fn answer(action: &str, request_id: &str, body: &Xml) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <requestId>{request_id}</requestId>{}</{action}Response>",
        body.0
    )
}

/// The whole document of an error answer.
pub(crate) fn error(code: &str, message: &str, request_id: &str) -> String {
    let mut xml = Xml::new();
    xml.node("Errors", |xml| {
        xml.node("Error", |xml| {
            xml.text("Code", code).text("Message", message);
        });
    });
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response>{}<RequestID>{request_id}</RequestID></Response>",
        xml.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_lists_are_items() {
        let mut xml = Xml::new();
        xml.list("tagSet", [("a<b", "\"&\u{1}")], |xml, (key, value)| {
            xml.text("key", key).text("value", value);
        });
        assert_eq!(xml.0, "<tagSet><item><key>a&lt;b</key><value>&quot;&amp;\u{fffd}</value></item></tagSet>");
    }
}
