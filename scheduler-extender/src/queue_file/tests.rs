use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;
use crate::fake;

/// Far above what anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn content(weight: u32) -> String {
    format!("version: 1\nqueues: [{{ name: q, weight: {weight} }}]\n")
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queues.yaml");
    fs::write(&path, content(1)).unwrap();
    (folder, path)
}

async fn opened(path: &Path) -> (Arc<App>, QueueFile) {
    let (app, file) = (fake::app(), QueueFile::open(path.to_owned()).await.unwrap());
    file.install(&app);
    (app, file)
}

/// The weight in force, whether that is what the file says, and how often it was taken and refused.
fn told(app: &App) -> (u32, bool, u64, u64) {
    let status = app.queues.borrow().clone();
    let in_force = app.metrics.queue_file.in_force.get() > 0.5;
    assert_eq!(in_force, status.refused.is_none());
    let loads = |result| app.metrics.queue_file.loads.with([result]).get();
    (
        status.table.queues["q"].weight,
        in_force,
        loads("applied"),
        loads("refused"),
    )
}

fn message(app: &App) -> String {
    app.queues.borrow().refused.clone().unwrap().message
}

#[tokio::test]
async fn only_a_right_file_is_opened() {
    let (folder, path) = folder();
    let open = async |path: &Path| QueueFile::open(path.to_owned()).await.unwrap_err();
    fs::write(&path, "version: 1\nqueues: [{ name: q, weight: 0 }]").unwrap();
    assert!(open(&path).await.to_string().contains("weight 0"));
    fs::write(&path, vec![b' '; MAX_BYTES + 1]).unwrap();
    assert!(matches!(
        open(&path).await,
        Error::Content(kompass_queues::Error::TooLarge)
    ));
    assert!(matches!(open(folder.path()).await, Error::NoFile));
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    assert!(
        matches!(open(&pipe).await, Error::NoFile),
        "and nobody waits for a writer"
    );
    fs::remove_file(&path).unwrap();
    let said = logging::chain(&open(&path).await);
    assert!(said.contains("No such file"), "{said}");
}

#[tokio::test]
async fn what_two_looks_have_shown_comes_into_force() {
    let (_folder, path) = folder();
    let (app, mut file) = opened(&path).await;
    assert_eq!(told(&app), (1, true, 1, 0));
    file.look(&app).await;
    assert_eq!(told(&app), (1, true, 1, 0), "nothing has changed");
    fs::write(&path, content(2)).unwrap();
    file.look(&app).await;
    assert_eq!(told(&app), (1, true, 1, 0), "it may be half of a file");
    fs::write(&path, content(3)).unwrap();
    file.look(&app).await;
    assert_eq!(told(&app), (1, true, 1, 0));
    for _ in 0..3 {
        file.look(&app).await;
        assert_eq!(told(&app), (3, true, 2, 0));
    }
}

#[tokio::test]
async fn a_wrong_file_leaves_the_rules_and_is_told_once() {
    let (folder, path) = folder();
    let (app, mut file) = opened(&path).await;
    let mut looks = async |app: &App| {
        for _ in 0..4 {
            file.look(app).await;
        }
    };
    fs::write(&path, content(0)).unwrap();
    looks(&app).await;
    assert_eq!(told(&app), (1, false, 1, 1));
    assert!(message(&app).contains("weight 0"), "{}", message(&app));
    fs::write(&path, content(1001)).unwrap();
    looks(&app).await;
    assert_eq!(told(&app), (1, false, 1, 2));
    fs::remove_file(&path).unwrap();
    looks(&app).await;
    assert_eq!(told(&app), (1, false, 1, 3));
    assert!(message(&app).contains("No such file"), "{}", message(&app));
    // The rules in force once more.
    fs::write(folder.path().join("new"), content(1)).unwrap();
    fs::rename(folder.path().join("new"), &path).unwrap();
    looks(&app).await;
    assert_eq!(told(&app), (1, true, 2, 3));
    assert_eq!(app.queues.borrow().refused, None);
}

/// As the kubelet does with a ConfigMap: the file is a link into `..data`, which is a link that is swapped.
#[tokio::test]
async fn a_config_map_volume_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path();
    let publish = |generation: &str, weight: u32| {
        fs::create_dir(volume.join(generation)).unwrap();
        fs::write(volume.join(generation).join("queues.yaml"), content(weight)).unwrap();
        symlink(generation, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    publish("..1", 1);
    let path = volume.join("queues.yaml");
    symlink("..data/queues.yaml", &path).unwrap();

    let (app, file) = opened(&path).await;
    let mut statuses = app.queues.subscribe();
    let end = CancellationToken::new();
    let following = tokio::spawn(file.follow(Arc::clone(&app), Duration::from_millis(2), end.clone()));
    for (generation, weight) in [("..2", 7), ("..3", 9)] {
        publish(generation, weight);
        let wanted = |status: &Status| status.table.queues["q"].weight == weight;
        let seen = timeout(PATIENCE, statuses.wait_for(wanted)).await;
        assert!(seen.expect("the change comes into force").is_ok());
    }
    publish("..4", 0);
    let refused = timeout(PATIENCE, statuses.wait_for(|status| status.refused.is_some())).await;
    assert_eq!(refused.unwrap().unwrap().table.queues["q"].weight, 9);
    end.cancel();
    timeout(PATIENCE, following).await.expect("it ends").unwrap();
}
