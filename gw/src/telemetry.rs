//! Logs and traces.

use std::io::IsTerminal;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt};

use crate::{
    config::{LogArgs, LogFormat},
    error::Error,
};

/// Flushes traces when it is dropped.
#[derive(Debug)]
pub(crate) struct Telemetry(Option<SdkTracerProvider>);

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown()
        {
            eprintln!("gw: traces were not all sent: {error}");
        }
    }
}

/// Logs of a command: warnings and errors, to standard error.
pub(crate) fn for_commands(log: &LogArgs) -> Telemetry {
    let level = log.log_level.as_deref().unwrap_or("warn");
    let coloured = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(coloured);
    // A second subscriber in one process is only met in tests.
    let _set = tracing_subscriber::registry().with(filter(level)).with(layer).try_init().is_err();
    Telemetry(None)
}

/// Logs of the gateway, and traces where an endpoint is given.
pub(crate) fn for_service(log: &LogArgs, otlp_endpoint: Option<&str>, service: &str) -> Result<Telemetry, Error> {
    let provider = otlp_endpoint.map(|endpoint| exporter(endpoint, service)).transpose()?;
    let traces = provider.as_ref().map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("gw")));
    let level = log.log_level.as_deref().unwrap_or("info");
    let registry = tracing_subscriber::registry().with(filter(level)).with(traces).with(lines(log.log_format));
    let _set = registry.try_init().is_err();
    Ok(Telemetry(provider))
}

/// The client of the broker says at every step what we say once.
fn filter(directives: &str) -> EnvFilter {
    let client = nats::LOG_TARGET;
    let quiet = if directives.contains(client) { String::new() } else { format!(",{client}=error") };
    EnvFilter::builder().parse_lossy(format!("{directives}{quiet}"))
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let terminal = std::io::stdout().is_terminal();
    let pretty = match format {
        LogFormat::Auto => terminal,
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    };
    if pretty {
        tracing_subscriber::fmt::layer().with_target(false).with_ansi(terminal).boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    }
}

fn exporter(endpoint: &str, service: &str) -> Result<SdkTracerProvider, Error> {
    let endpoint = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .build()
        .map_err(|error| Error::Telemetry(error.into()))?;
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
