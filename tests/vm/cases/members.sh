# Members of kinds that need modules: VLANs, bonds, ipvlan, VRF, dummy.

# The hook on a device above another one.
upper_hook() { if has_tcx; then echo tcx; else echo xdp-generic; fi; }

# Both NICs and the targets' one carry VLAN 100, which has the addresses.
vlans() {
    lab 2
    local nic
    for nic in eth0 eth1; do
        ip link add link $nic name $nic.100 type vlan id 100
        ip link set $nic.100 up
    done
    ip -n far link add link eth0 name eth0.100 type vlan id 100
    ip -n far address flush dev eth0
    ip -n far link set eth0.100 up
    give_targets eth0.100
    MEMBERS=(eth0.100 eth1.100)
}

test_vlan_members() {
    vlans
    config 1s
    run_daemon
    equal "hook of eth0.100" "$(told receive eth0.100)" "$(upper_hook)"
    survives_a_cut 1000 "VLAN"
}

# The queue of the device below is passed before a probe has left: waiting there is no loss, and no part of the RTT.
test_a_slow_queue_below_a_vlan_is_no_failure() {
    vlans
    config 1s
    run_daemon
    tc qdisc replace dev eth0 root netem delay 600ms
    sleep 15
    no_failure
    local slowest
    slowest=$(ipmpstat -n -t --json | sed -n 's/.*"srtt_ns": \([0-9]*\).*/\1/p' | sort -n | tail -n 1)
    figure "probes wait 600 ms in the queue below: slowest RTT $((slowest / 1000)) us"
    [ "$slowest" -lt 300000000 ] || fail "$(ipmpstat -n -t --json)"
}

test_bonds_as_members() {
    lab 2
    local n
    for n in 0 1; do
        ip link add "bond$n" type bond mode active-backup miimon 100
        ip link set "eth$n" down
        ip link set "eth$n" master "bond$n"
        ip link set "bond$n" up
    done
    MEMBERS=(bond0 bond1)
    config 1s
    run_daemon
    equal "hook of bond0" "$(told receive bond0)" "$(upper_hook)"
    survives_a_cut 1000 "bond"
}

# can_t_be_a_member NIC WHY
can_t_be_a_member() {
    until_true 10 logged "$1 can't be a member of a group: .*$2"
    [ -z "$(ip -o -4 address show dev "$1")" ] || fail "it was given an address"
}

test_devices_that_are_refused() {
    lab 5
    ip link add bond0 type bond mode active-backup
    ip link set eth2 down
    ip link set eth2 master bond0
    ip link add vrf0 type vrf table 100
    ip link set eth3 master vrf0
    ip link add ipvl0 link eth4 type ipvlan mode l2
    ip link set ipvl0 up
    MEMBERS=(eth0 eth1 eth2 eth3 ipvl0)
    config 1s
    run_daemon eth0 eth1
    can_t_be_a_member eth2 nomaster
    can_t_be_a_member eth3 nomaster
    can_t_be_a_member ipvl0 MAC
    survives_a_cut 1000 "beside refused devices"
    # Let go, it joins.
    ip link set eth3 nomaster
    until_true 20 is_ok eth3
}

# A device that swallows everything is a member that has never answered: it gets no data address, and harms none.
test_a_dummy_never_carries_data() {
    lab 2
    ip link add eth9 type dummy
    ip link set eth9 up
    MEMBERS=(eth0 eth1 eth9)
    config 1s 'quiet_period = "5s"'
    run_daemon eth0 eth1
    until_true 30 logged 'failure detected on eth9'
    [ "$(told active eth9)" = no ] || fail "$(ipmpstat -i)"
    local address
    for address in $DATA; do
        [ "$(owner "$address")" != eth9 ] || fail "$address is on the dummy"
    done
    equal "state of eth0" "$(told state eth0)" ok
    survives_a_cut_to_eth1
}

survives_a_cut_to_eth1() {
    MEMBERS=(eth0 eth1)
    survives_a_cut 1000 "beside a dummy"
}
