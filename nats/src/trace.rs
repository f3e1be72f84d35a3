//! Trace context across the broker: W3C `traceparent` in message headers.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use schemas::header::{self, Headers};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Gives a message the current span's context where there is one; it follows on what the message had.
pub(crate) fn inject(headers: &mut Headers) {
    let context = Span::current().context();
    let span = context.span();
    let own = span.span_context();
    if !own.is_valid() {
        return;
    }
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case(header::TRACEPARENT));
    let flags = own.trace_flags().to_u8();
    headers.push((header::TRACEPARENT.to_owned(), format!("00-{}-{}-{flags:02x}", own.trace_id(), own.span_id())));
}

/// Whether this is a trace context as W3C writes it: what is not must be ignored.
#[must_use]
pub fn is_valid(traceparent: &str) -> bool {
    // Version, trace, span and flags, in lower-case hex.
    let shape = |(at, byte): (usize, u8)| match at {
        2 | 35 | 52 => byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
    };
    traceparent.len() == 55 && traceparent.bytes().enumerate().all(shape) && parse(traceparent).is_some()
}

/// The span's parent becomes what the headers name.
pub fn adopt(span: &Span, traceparent: Option<&str>) {
    if let Some(context) = traceparent.and_then(parse) {
        // Fails only where no exporter is set up, and then there is nothing to connect.
        let _unused = span.set_parent(context).is_err();
    }
}

fn parse(traceparent: &str) -> Option<Context> {
    let mut parts = traceparent.split('-');
    let (_version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then(|| Context::new().with_remote_span_context(context))
}
