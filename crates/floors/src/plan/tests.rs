use std::collections::BTreeSet;

use super::*;
use crate::group::{EKS_TAG, Instance, ScheduledAction};

const NOW_MS: i64 = 1_800_000_000_000;
const TTL_MS: i64 = 3_600_000;

fn rules() -> Rules {
    Rules {
        owner: "me".to_owned(),
        ttl_ms: TTL_MS,
        boot_ms: 300_000,
        discovery_tag: "autoscaler".to_owned(),
        listed: Some(BTreeSet::new()),
    }
}

/// Two instances, in service, of at most ten.
fn group() -> Group {
    let instance = |number: u32| Instance {
        id: format!("i-{number}"),
        in_service: true,
    };
    Group {
        name: "spark".to_owned(),
        min: 2,
        max: 10,
        desired: 2,
        instances: (0..2).map(instance).collect(),
        tags: [("autoscaler".to_owned(), String::new())].into(),
        ..Group::default()
    }
}

fn sight<'a>(group: &'a Group, company: &'a Company) -> Sight<'a> {
    Sight {
        now_ms: NOW_MS,
        group,
        tag: None,
        release: Release::of(company),
        company: Some(company),
        pending: false,
        sent: &[],
        seen_in_place: false,
        short_since_ms: None,
    }
}

fn tag() -> Tag {
    Tag {
        base: 2,
        floor: 5,
        was: 2,
        since_ms: NOW_MS,
        until_ms: NOW_MS + TTL_MS,
        owner: "me".to_owned(),
    }
}

fn release_in(minutes: i64) -> Release {
    Release {
        start_ms: NOW_MS + minutes * 60_000,
        base: Some(2),
    }
}

#[test]
fn a_raise_is_tag_release_and_floor_in_this_order() {
    let (group, company) = (group(), Company::default());
    let plan = plan(&sight(&group, &company), Some(50), &rules());
    let expected = [
        Write::Tag(Tag { floor: 10, ..tag() }),
        Write::Schedule {
            base: 2,
            start_ms: NOW_MS + TTL_MS,
        },
        Write::SetMin(10),
    ];
    assert_eq!(
        (plan.writes.as_slice(), plan.refusal),
        (&expected[..], None),
        "never above MaxSize"
    );
}

#[test]
fn a_group_that_is_not_ours_alone_is_not_raised() {
    let action = |name: &str| ScheduledAction {
        name: name.to_owned(),
        start_ms: Some(NOW_MS + TTL_MS),
        min: Some(1),
        ..ScheduledAction::default()
    };
    let mut of_eks = group();
    of_eks.tags.insert(EKS_TAG.to_owned(), "pool".to_owned());
    let suspended = |process: &str| Group {
        suspended: [process.to_owned()].into(),
        ..group()
    };
    let acts = Company {
        actions: vec![action("nightly")],
        policies: Vec::new(),
    };
    let scales = Company {
        actions: Vec::new(),
        policies: vec!["target-tracking".to_owned()],
    };
    let stray = Company {
        actions: vec![action(RELEASE_ACTION)],
        policies: Vec::new(),
    };
    let alone = Company::default;
    for (group, company, code) in [
        (of_eks, alone(), "eks"),
        (suspended("ScheduledActions"), alone(), "suspended"),
        (suspended("Launch"), alone(), "suspended"),
        (group(), acts, "foreign-action"),
        (group(), scales, "policy"),
        (group(), stray, "stray"),
        (Group { desired: 3, ..group() }, alone(), "unsettled"),
        (Group { max: 2, ..group() }, alone(), "full"),
    ] {
        let plan = plan(&sight(&group, &company), Some(5), &rules());
        assert_eq!(plan.refusal.as_ref().map(Refusal::code), Some(code));
        assert!(plan.writes.is_empty(), "{code}: {plan:?}");
    }
    let listed = Rules {
        listed: Some(["spark".to_owned()].into()),
        ..rules()
    };
    let (group, company) = (group(), alone());
    let plan = plan(&sight(&group, &company), Some(5), &listed);
    assert_eq!(plan.refusal, Some(Refusal::Listed));
    let unknown = Rules {
        listed: None,
        ..rules()
    };
    let plan = super::plan(&sight(&group, &company), Some(5), &unknown);
    assert_eq!(plan.refusal, Some(Refusal::ListedUnknown));
}

#[test]
fn a_harmless_suspension_does_not_matter() {
    let (group, company) = (
        Group {
            suspended: ["AZRebalance".to_owned()].into(),
            ..group()
        },
        Company::default(),
    );
    assert_eq!(plan(&sight(&group, &company), Some(5), &rules()).writes.len(), 3);
}

#[test]
fn who_knows_no_company_does_not_raise() {
    let (group, company) = (group(), Company::default());
    let blind = Sight {
        company: None,
        ..sight(&group, &company)
    };
    assert!(plan(&blind, Some(5), &rules()).writes.is_empty());
}

#[test]
fn what_follows_from_what_is_seen() {
    let set = Write::SetMin;
    let end = [Write::Unschedule, Write::Untag];
    let gone = [&[set(2)][..], &end].concat();
    let other = Release {
        base: Some(1),
        ..release_in(50)
    };
    // MinSize, release, wanted; what is written and who ends it.
    let cases = [
        ("steady", 5, Some(release_in(50)), Some(5), vec![], None),
        (
            "nothing wanted",
            5,
            Some(release_in(50)),
            None,
            gone.clone(),
            Some(By::Us),
        ),
        (
            "the base is enough",
            5,
            Some(release_in(50)),
            Some(2),
            gone.clone(),
            Some(By::Us),
        ),
        ("close to its end", 5, Some(release_in(2)), Some(7), vec![], None),
        ("may just have run", 2, Some(release_in(-2)), Some(7), vec![], None),
        (
            "AWS has not run it",
            5,
            Some(release_in(-4)),
            Some(5),
            gone.clone(),
            Some(By::Us),
        ),
        ("another base", 5, Some(other), Some(5), gone, Some(By::Us)),
        (
            "somebody's",
            4,
            Some(release_in(50)),
            Some(5),
            end.to_vec(),
            Some(By::Others),
        ),
        (
            "without release",
            5,
            None,
            Some(5),
            vec![set(2), Write::Untag],
            Some(By::Us),
        ),
    ];
    for (what, min, release, wanted, writes, ended) in cases {
        let instances = (0..min).map(|number| Instance {
            id: format!("i-{number}"),
            in_service: true,
        });
        let group = Group {
            min,
            desired: min,
            instances: instances.collect(),
            ..group()
        };
        let (company, tag) = (Company::default(), tag());
        let sight = Sight {
            tag: Some(&tag),
            release,
            ..sight(&group, &company)
        };
        let plan = plan(&sight, wanted, &rules());
        assert_eq!((plan.writes, plan.ended), (writes, ended), "{what}");
    }
}

#[test]
fn a_renewal_moves_the_release_before_the_tag() {
    let group = Group {
        min: 5,
        desired: 5,
        ..group()
    };
    let (company, tag) = (Company::default(), tag());
    let sight = Sight {
        tag: Some(&tag),
        release: Some(release_in(40)),
        ..sight(&group, &company)
    };
    let plan = plan(&sight, Some(5), &rules());
    let until_ms = NOW_MS + TTL_MS;
    let renewed = Tag {
        was: 5,
        until_ms,
        ..tag.clone()
    };
    assert_eq!(
        plan.writes,
        [
            Write::Schedule {
                base: 2,
                start_ms: until_ms
            },
            Write::Tag(renewed)
        ]
    );
}
