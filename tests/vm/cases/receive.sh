# How replies come in, on this kernel: the object loads, and each kind of hook detects a silent cut.

detects_through() {
    lab 2
    config 1s "datapath = \"$1\""
    run_daemon
    local nic
    for nic in eth0 eth1; do
        equal "hook of $nic" "$(told receive $nic)" "$2"
    done
    survives_a_cut 1000 "$2"
    if logged 'no kernel program'; then
        fail "the object was refused"
    fi
}

test_native_xdp() { detects_through xdp xdp; }
test_generic_xdp() { detects_through xdp-generic xdp-generic; }
test_socket() { detects_through socket socket; }
test_best_hook() { detects_through auto xdp; }

# tcx came with Linux 6.6.
test_tcx_or_what_is_left() {
    if has_tcx; then
        detects_through tcx tcx
    else
        detects_through tcx socket
    fi
}
