//! Who calls: what a checked key and the organisation header allow, and the ids of a request.

/// A caller whose key was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The organisation the caller is narrowed to; none sees every organisation.
    pub org: Option<String>,
    /// Tells one key from another, and says nothing of it.
    pub key: String,
}

impl Caller {
    /// Whether the caller may see what belongs to an organisation.
    #[must_use]
    pub fn sees(&self, org: &str) -> bool {
        self.org.as_deref().is_none_or(|own| own == org)
    }
}

/// The ids of a request: given by the client in good form, or made for it. Echoed in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestIds {
    /// This request.
    pub request: String,
    /// What the request belongs to.
    pub correlation: String,
}
