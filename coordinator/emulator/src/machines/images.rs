//! New images: the tree of a machine, copied.

use std::io;
use std::path::PathBuf;

use tokio::process::Command;

/// What is copied where.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    /// The image that the machine was booted from.
    pub(crate) image: PathBuf,
    /// What the machine has changed.
    pub(crate) changes: PathBuf,
    /// Where the new image's tree is to be; it is there once it is whole.
    pub(crate) tree: PathBuf,
}

/// Both layers as one, without what is mounted on them, as a snapshot of the volume has it.
const SCRIPT: &str = r#"
set -euo pipefail
image=$1 changes=$2 tree=$3
trap 'rm -rf --one-file-system "$tree.new"' ERR
mkdir -p "$tree.new"
mount -t tmpfs tmpfs /mnt
mkdir /mnt/layers
mount -t overlay overlay -o "ro,lowerdir=$changes:$image" /mnt/layers
cp --archive --reflink=auto --one-file-system /mnt/layers/. "$tree.new"
mv --no-target-directory "$tree.new" "$tree"
"#;

/// Copies a machine's tree, also while it runs: what is in its memory is not in the copy.
pub(crate) async fn copy(copy: &Copy) -> io::Result<()> {
    let Copy { image, changes, tree } = copy;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--", "bash", "-c", SCRIPT, "copy-image"]);
    let output = command.arg(image).arg(changes).arg(tree).kill_on_drop(true).output().await?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{} ({})", said.trim(), output.status)))
}
