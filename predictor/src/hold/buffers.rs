//! Capacity buffers and their pod templates at the API server.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::PodTemplate;
use kompass_core::names;
use kompass_kube::client::{REQUEST_TIMEOUT, within};
use kompass_kube::{apply, buffers};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta};
use kube::{Api, ResourceExt as _};

use super::objects::{self, Target};
use super::plan::{Held, Kind, State};
use super::{Error, Holder, MANAGER, Right, WRITE_LIMIT, refused};

const BUFFERS: Right = Right {
    group: buffers::GROUP,
    resource: buffers::PLURAL,
    verbs: "list, create, patch, delete",
    is_cluster_wide: false,
};
const TEMPLATES: Right = Right {
    group: "",
    resource: "podtemplates",
    verbs: "list, create, patch, delete",
    is_cluster_wide: false,
};

impl Holder {
    /// All that hold nodes, also those of which only a part is there.
    pub(super) async fn buffers(&self, resource: Option<&ApiResource>) -> Result<Vec<Held>, Error> {
        let ours = ListParams::default().labels(names::HEADROOM_LABEL);
        let templates = within(REQUEST_TIMEOUT, self.template_api().list_metadata(&ours)).await;
        let templates = templates.map_err(|source| refused("list", "pod templates", TEMPLATES, source))?;
        let mut held: HashMap<String, Held> = templates
            .into_iter()
            .map(|template| (template.name_any(), of_metadata(Kind::Buffer, template.metadata)))
            .collect();
        if let Some(resource) = resource {
            let listed = within(REQUEST_TIMEOUT, self.buffer_api(resource).list(&ours)).await;
            for buffer in listed.map_err(|source| refused("list", "capacity buffers", BUFFERS, source))? {
                let has_template = held.contains_key(&buffer.name_any());
                held.insert(buffer.name_any(), of_buffer(buffer, has_template));
            }
        }
        Ok(held.into_values().collect())
    }

    pub(super) async fn apply_template(&self, target: &Target) -> Result<(), Error> {
        let object = objects::pod_template(target, &self.settings.limits, self.settings.owner.as_ref());
        let applied = apply::apply(&self.template_api(), MANAGER, &target.name, &object).await;
        applied
            .map(|_| ())
            .map_err(|error| refused("apply", described("pod template", target), TEMPLATES, error.source))
    }

    pub(super) async fn apply_buffer(&self, target: &Target, resource: &ApiResource) -> Result<(), Error> {
        let owner = self.settings.owner.as_ref();
        let object = objects::buffer(target, &self.settings.limits, owner, &resource.api_version);
        let applied = apply::apply(&self.buffer_api(resource), MANAGER, &target.name, &object).await;
        applied
            .map(|_| ())
            .map_err(|error| refused("apply", described("capacity buffer", target), BUFFERS, error.source))
    }

    pub(super) async fn delete_buffer(&self, name: &str, resource: &ApiResource) -> Result<(), Error> {
        let api = self.buffer_api(resource);
        match within(WRITE_LIMIT, api.delete(name, &DeleteParams::default())).await {
            Err(error) if error.status() != Some(404) => {
                Err(refused("delete", format!("capacity buffer {name}"), BUFFERS, error))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn delete_template(&self, name: &str) -> Result<(), Error> {
        let api = self.template_api();
        match within(WRITE_LIMIT, api.delete(name, &DeleteParams::default())).await {
            Err(error) if error.status() != Some(404) => {
                Err(refused("delete", format!("pod template {name}"), TEMPLATES, error))
            }
            _ => Ok(()),
        }
    }

    fn template_api(&self) -> Api<PodTemplate> {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    fn buffer_api(&self, resource: &ApiResource) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.settings.namespace, resource)
    }
}

/// What is for whom, by name.
pub(super) fn described(what: &str, target: &Target) -> String {
    format!("{what} {} of {} nodes for {}", target.name, target.nodes, target.part)
}

/// What metadata tell; no more nodes than none.
pub(super) fn of_metadata(kind: Kind, metadata: ObjectMeta) -> Held {
    let annotations = metadata.annotations.unwrap_or_default();
    Held {
        kind,
        name: metadata.name.unwrap_or_default(),
        held_for: annotations
            .get(names::HEADROOM_FOR_ANNOTATION)
            .cloned()
            .unwrap_or_default(),
        nodes: 0,
        expires_ms: objects::expires_ms(annotations.get(names::EXPIRES_ANNOTATION)),
        created_ms: metadata.creation_timestamp.map_or(0, |time| time.0.as_millisecond()),
        state: if metadata.deletion_timestamp.is_some() {
            State::Deleting
        } else {
            State::Partial
        },
        has_number: false,
        is_answered: false,
    }
}

fn of_buffer(buffer: DynamicObject, has_template: bool) -> Held {
    let conditions = buffer.data["status"]["conditions"].as_array();
    let is_answered = conditions.is_some_and(|conditions| !conditions.is_empty());
    let nodes = buffer.data["spec"]["replicas"].as_u64().unwrap_or(0);
    let mut held = of_metadata(Kind::Buffer, buffer.metadata);
    if has_template && held.state == State::Partial {
        held.state = State::Whole;
    }
    Held {
        nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
        has_number: true,
        is_answered,
        ..held
    }
}
