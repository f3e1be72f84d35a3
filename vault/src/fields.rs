//! What can be wrong with the fields of our own requests.

pub(crate) use schemas::fields::{Fault, Faults, Fields};
use schemas::problem::Problem;

/// The one field whose absence has a code of its own.
const PROVIDER_RESOURCE_ID: &str = "providerResourceId";

/// A link of an account names another account.
pub(crate) const OTHER_ACCOUNT: Fault = Fault::Says(std::borrow::Cow::Borrowed(
    "must be the connection's externalId: a link of this kind is about the account itself",
));

/// An entry of an event filter can match nothing.
pub(crate) fn bad_entry(entry: usize) -> Fault {
    Fault::Says(format!("entry {entry} is not an event type, a category, a pattern that ends in * or * itself").into())
}

/// The answer to who sent it.
pub(crate) fn problem(faults: &Faults) -> Problem {
    match faults.has(PROVIDER_RESOURCE_ID, &Fault::Missing) {
        true => faults.errors_of(Problem::new(400, "missing_provider_resource_id", "providerResourceId is missing")),
        false => faults.problem(),
    }
}
