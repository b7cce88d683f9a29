//! The list of the cases: a test for each folder.

use std::collections::BTreeSet;

use crate::{folder, replay};

macro_rules! cases {
    ($($case:ident)*) => {
        const ALL: &[&str] = &[$(stringify!($case)),*];

        $(#[test]
        fn $case() {
            replay(stringify!($case));
        })*
    };
}

cases! {
    behaviour_12_a_failed_member_stays_failed_over_a_restart
    behaviour_40_a_stopped_daemon_fails_nothing
    behaviour_57_a_silent_path_fails_the_interface
    behaviour_58_four_losses_then_a_reply
    behaviour_59_losses_spread_over_targets
    behaviour_60_one_dead_target_fails_nothing
    behaviour_62_one_dead_family_moves_alone
    behaviour_64_a_family_without_target_has_no_say
    behaviour_65_targets_that_never_answer_fail_nothing
    behaviour_65_a_nic_that_alone_never_answers
    behaviour_66_the_first_reply_ends_the_quiet_period
    behaviour_68_all_targets_die_at_once
    behaviour_69_a_link_only_member_witnesses_by_link
    behaviour_70_a_single_member_fails_with_its_group
    behaviour_71_carrier_loss_is_judged_at_once
    behaviour_73_the_flap_guard_of_link_only_members
    behaviour_75_a_probed_flapping_link_earns_each_repair
    behaviour_76_both_links_drop
    behaviour_77_unknown_with_link_is_alive
    behaviour_78_a_driver_without_carrier
    behaviour_79_the_link_is_down_when_first_seen
    behaviour_80_repair_needs_unbroken_answers
    behaviour_81_repair_by_the_living_target
    behaviour_82_one_family_repairs_the_interface
    behaviour_83_routers_of_a_failed_group_stay
    behaviour_84_another_host_repairs_the_group
    behaviour_86_a_standby_stands_in_and_steps_back
    behaviour_89_a_failing_standby_changes_no_traffic
    behaviour_91_a_standby_that_is_needed_returns_active
    behaviour_92_one_standby_for_one_failure
    behaviour_93_no_failback
    behaviour_95_no_failback_but_capacity_lacks
    behaviour_96_no_failback_after_a_group_failure
    behaviour_99_all_standbys_keep_one_active
    behaviour_102_addresses_spread_move_and_return
    behaviour_105_three_addresses_on_two_nics
    behaviour_115_the_last_router_goes
    next_hops_by_interface_and_family
    behaviour_122_offline_and_undo
    behaviours_138_139_a_nic_is_removed_and_returns
    behaviour_140_a_nic_is_missing_at_the_start
    behaviour_97_offline_ignores_no_failback
    behaviour_101_a_standby_before_one_set_aside
    behaviour_46_a_slow_path_fails_nothing
    behaviour_81_a_slow_target_after_a_common_silence
    a_late_daemon_asks_for_one_round_more
    behaviour_83_a_withdrawn_router_is_kept_while_the_group_has_failed
    behaviour_85_a_link_that_bounces_where_no_target_is_known
    behaviour_98_standby_is_set_and_cleared
    behaviour_100_an_active_standby_is_removed
    behaviour_94_the_last_resort_of_no_failback
    behaviour_99_a_leader_that_is_late
    simultaneous_failures_and_repairs_of_actives
    behaviour_124_offline_in_a_failed_group
    behaviour_128_the_link_drops_while_offline
    behaviour_129_a_link_that_bounced_while_offline
    behaviour_132_offline_survives_a_restart
    offline_wakes_a_standby_and_a_lost_link_wakes_no_second
    behaviour_72_a_link_that_returns_proves_nothing
    fdt_5ms_within_its_budget
    an_address_of_ours_is_taken_away
    a_full_queue_is_late_and_a_stuck_one_has_failed
    an_arp_request_in_place_of_probes
    a_member_has_another_mac
    a_new_nic_without_carrier_has_not_returned
    a_nic_is_renamed_out_of_the_group_and_back
    a_nic_that_is_set_up_gets_no_carrier
    behaviours_133_134_a_twin_goes_offline
    behaviours_133_135_a_twin_joins
    behaviours_133_135_136_the_other_twin_is_taken_offline
    behaviour_137_a_member_without_ipv6
    behaviour_138_an_active_standby_is_removed
    behaviour_138_removed_while_its_addresses_move
    behaviours_138_139_removed_while_offline
    behaviours_138_139_the_last_active_is_removed
    behaviour_139_a_new_nic_is_down_at_first
    behaviour_140_no_nic_is_there_at_the_start
    behaviour_164_a_gap_of_an_hour
    behaviours_16_17_18_no_test_address_for_20_s
    behaviours_23_24_another_host_has_the_test_address
    behaviour_26_the_test_address_of_a_failed_nic_goes
    the_only_nic_is_renamed
}

#[test]
fn every_folder_is_a_case() {
    let folders = std::fs::read_dir(folder()).unwrap();
    let folders: BTreeSet<String> =
        folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let listed: BTreeSet<String> = ALL.iter().map(|case| (*case).to_owned()).collect();
    assert_eq!(folders, listed);
}
