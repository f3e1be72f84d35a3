//! Who calls: what a checked key and the organisation header allow, and the ids of a request.

/// A caller whose key was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The organisation the caller is narrowed to; none sees every organisation.
    pub org: Option<String>,
    /// What the key is for.
    pub scope: Scope,
    /// Which key it is, for what is limited by key. Says nothing of the key itself.
    pub key: String,
}

/// What a key of the API is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything.
    Admin,
    /// Reading what belongs to one organisation.
    Read,
}

impl Scope {
    /// As the API and the database have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Read => "read",
        }
    }

    /// Reads what [`Self::as_str`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Admin, Self::Read].into_iter().find(|scope| scope.as_str() == text)
    }
}

impl Caller {
    /// A caller with an admin's key, narrowed to an organisation or not.
    #[must_use]
    pub fn admin(org: Option<&str>) -> Self {
        Self { org: org.map(str::to_owned), scope: Scope::Admin, key: "admin".to_owned() }
    }

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
