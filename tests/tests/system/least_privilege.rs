//! What a process that holds keys gives up.

use std::error::Error;

use valise_tests::Network;

#[tokio::test(flavor = "multi_thread")]
async fn g02_a_running_broker_leaves_no_core_file() -> Result<(), Box<dyn Error>> {
    let net = Network::builder().broker_as_process().start().await?;
    let process = net.broker().process_id().await.ok_or("the broker is no process")?;
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits"))?;
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
    let words: Vec<&str> = core.split_whitespace().collect();
    assert_eq!(words.get(4..6), Some(&["0", "0"][..]), "{core}");
    net.stop().await;
    Ok(())
}

/// Landlock is for processes that cannot gain privileges again, and only the kernel says so of another process.
#[tokio::test(flavor = "multi_thread")]
async fn g02_a_running_broker_and_agent_are_confined_to_their_folders() -> Result<(), Box<dyn Error>> {
    let net =
        Network::builder().broker_as_process().agencies_as_processes().agency("ken/ncb").start().await?;
    let broker = net.broker().process_id().await.ok_or("the broker is no process")?;
    let agent = net.agency("ken/ncb").process_id().await?.ok_or("the agent is no process")?;
    for (process, log) in [(broker, net.broker().log()?), (agent, net.agency("ken/ncb").log()?)] {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let confined = log.contains("refuses this process") && status.contains("NoNewPrivs:\t1");
        assert!(confined || log.contains("does not know Landlock"), "{log}");
    }
    net.stop().await;
    Ok(())
}

/// What the units promise is only true while they say it.
#[test]
fn the_units_give_up_what_a_node_does_not_need() -> Result<(), Box<dyn Error>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd");
    for (name, data) in [("valise-broker", "valise-broker"), ("valise-agent", "valise-agent")] {
        let unit = std::fs::read_to_string(format!("{folder}/{name}.service"))?;
        let state = format!("StateDirectory={data}");
        let wanted = [
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "ProtectHome=yes",
            "PrivateDevices=yes",
            "CapabilityBoundingSet=",
            "MemoryDenyWriteExecute=yes",
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
            "SystemCallFilter=@system-service",
            "LimitCORE=0",
            "UMask=0077",
            state.as_str(),
        ];
        for line in wanted {
            assert!(unit.lines().any(|found| found == line), "{name}.service lacks `{line}`");
        }
    }
    Ok(())
}
