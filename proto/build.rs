//! Generates the Rust code and the descriptor set (for gRPC reflection) with protox: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["spillway/v1/agent.proto", "spillway/v1/operator.proto"];
    let descriptors = protox::compile(files, ["."])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("spillway.v1.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().codec_path("crate::SmallCodec").compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=spillway");
    Ok(())
}
