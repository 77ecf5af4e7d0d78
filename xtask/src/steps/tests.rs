//! Steps that fail, and commands that do.

use super::*;

#[test]
fn failed_step_fails_the_verb_and_lets_the_next_run() {
    let (ok, failed) = (
        format!("{:?}", ExitCode::SUCCESS),
        format!("{:?}", ExitCode::FAILURE),
    );
    let end = |outcomes: &[Outcome]| {
        let mut steps = Steps::default();
        outcomes
            .iter()
            .for_each(|outcome| steps.run("step", || outcome.clone()));
        assert_eq!(steps.done.len(), outcomes.len());
        format!("{:?}", steps.finish())
    };
    assert_eq!(end(&[Ok(()), Ok(())]), ok);
    assert_eq!(end(&[Err("broken".to_owned()), Ok(())]), failed);
}

#[test]
fn panic_fails_its_step() {
    let second = 2;
    let mut steps = Steps::default();
    steps.run("step", || panic!("on purpose"));
    steps.run("step", || panic!("step {second}"));
    let outcomes: Vec<_> = steps.done.iter().map(|step| step.outcome.clone()).collect();
    assert_eq!(
        outcomes,
        [Err("on purpose".to_owned()), Err("step 2".to_owned())]
    );
}

#[test]
fn missing_tool_is_missing() {
    assert!(!has_tool("no-such-tool"));
}

#[test]
fn command_that_fails_is_an_error() {
    assert_eq!(run(&mut cargo(&["--version"])), Ok(()));
    assert!(run(&mut cargo(&["no-such-tool"])).is_err());
}
