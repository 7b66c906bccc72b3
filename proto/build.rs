//! Compiles the .proto files in Rust: no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=valise/v1");
    let files = [
        "valise/v1/common.proto",
        "valise/v1/envelope.proto",
        "valise/v1/notice.proto",
        "valise/v1/receipt.proto",
        "valise/v1/directory.proto",
        "valise/v1/enrolment.proto",
        "valise/v1/wire.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
