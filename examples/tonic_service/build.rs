//! Generates, without `protoc`, the code that `tonic-prost-build` would generate from this `.proto`
//! file:
//! ```proto
//! package reports.v1;
//! service Reports {
//!   rpc List (Empty) returns (Report);
//!   rpc Publish (Report) returns (Empty);
//!   rpc Watch (Empty) returns (stream Report);
//! }
//! ```

use tonic_build::manual::{Builder, Method, MethodBuilder, Service};

fn main() {
    let method = |name: &str, route: &str, input: &str, output: &str| -> MethodBuilder {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::{input}"))
            .output_type(format!("crate::{output}"))
            .codec_path("tonic_prost::ProstCodec")
    };
    let watch = method("watch", "Watch", "Empty", "Report").server_streaming();
    let service = Service::builder()
        .name("Reports")
        .package("reports.v1")
        .method(method("list", "List", "Empty", "Report").build())
        .method(method("publish", "Publish", "Report", "Empty").build())
        .method(watch.build())
        .build();
    Builder::new().compile(&[service]);
}
