# Paths that lose, delay and queue.

# impaired NETEM...: so is the way from the switch to both NICs, and from both NICs to the switch.
impaired() {
    local nic
    for nic in 0 1; do
        tc qdisc replace dev "eth$nic" root netem "$@"
        tc -n lan qdisc replace dev "sw$nic" root netem "$@"
    done
}

test_loss_is_no_failure() {
    lab 2
    impaired loss 5%
    config 1s
    run_daemon
    sleep 30
    no_failure
    survives_a_cut 1000 "5 % loss"
}

test_delay_is_measured_and_no_failure() {
    lab 2
    impaired delay 20ms
    config 1s
    run_daemon
    sleep 10
    no_failure
    survives_a_cut 1000 "20 ms delay"
}

# The way back through a narrow link, with a queue of somebody else's traffic.
test_a_narrow_path_is_no_failure() {
    lab 2
    impaired rate 2mbit delay 5ms loss 1%
    config 1s
    run_daemon
    ip netns exec far ping -q -f -i 0.01 -s 1400 -w 20 192.0.2.50 || true
    no_failure
    survives_a_cut 1000 "2 Mbit/s, 1 % loss"
}
