use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A NATS server that can be stopped and started again on its data and port.
pub(crate) struct Nats {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port =
            std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut nats = Self { folder, port, child: None };
        nats.start_again().await;
        nats
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) async fn start_again(&mut self) {
        let mut command = Command::new(program());
        command.arg("-js").arg("-sd").arg(self.folder.path()).args(["-a", "127.0.0.1", "-p"]);
        command.arg(self.port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nats-server did not come up");
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

fn program() -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.servers/bin/nats-server");
    if ours.exists() { ours } else { "nats-server".into() }
}
