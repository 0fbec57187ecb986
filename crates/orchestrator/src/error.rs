/// Why an orchestrator, or one of its partitions, stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("orchestrating")]
    Bus(#[from] nexus_bus::Error),
    #[error("reading the checkpoint of partition {partition}")]
    Checkpoint { partition: nexus_contracts::Partition, source: serde_json::Error },
}
