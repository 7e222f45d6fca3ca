module leveret.dev/tests/tools/rabbit_hole

go 1.23

require github.com/michaelklishin/rabbit-hole/v3 v3.2.0
