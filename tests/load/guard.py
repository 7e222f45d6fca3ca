#!/usr/bin/env python3
"""guard.py [--accept]   counts the instructions of fixed work (broker/benches/guard.rs) and compares them with what was accepted.

Counted by callgrind on one thread, so that neither other load nor the machine's speed matters. Fails when a piece of work takes
over 3 % more than broker/benches/guard.json says. --accept writes the new counts there, to be committed with their reason.
With another compiler than the accepted counts are from, 15 % is allowed.
"""
import json
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BASELINE = os.path.join(ROOT, 'broker/benches/guard.json')
ALLOWED, ALLOWED_OTHER_COMPILER = 0.03, 0.15


def build():
    """The program, in the profile that the broker is released with but for what makes it slow to build."""
    command = ['cargo', 'bench', '-p', 'leveret-broker', '--bench', 'guard', '--profile', 'guard', '--no-run',
               '--message-format', 'json-render-diagnostics']
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get('executable') and message['target']['name'] == 'guard':
            return message['executable']
    raise SystemExit('guard.py: cargo built no program')


def count(program, work):
    """Instructions of the first thread."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, 'out')
        command = ['valgrind', '--tool=callgrind', '--separate-threads=yes', f'--callgrind-out-file={out}', program, work]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | {'TMPDIR': folder})
        if done.returncode:
            raise SystemExit(f'guard.py: {work} failed: {done.stderr[-2000:]}')
        with open(f'{out}-01') as file:
            found = re.search(r'^(?:summary|totals): (\d+)', file.read(), re.MULTILINE)
        return int(found.group(1))


def compiler():
    return subprocess.run(['rustc', '--version'], capture_output=True, text=True, check=True).stdout.split()[1]


def main():
    if set(sys.argv[1:]) - {'--accept'}:
        sys.exit(__doc__)
    program = build()
    names = subprocess.run([program, 'list'], capture_output=True, text=True, check=True).stdout.split()
    counts = {name: count(program, name) for name in names}
    start = counts.pop('nothing')  # what every program begins with
    found = {name: value - start for name, value in counts.items()}
    if '--accept' in sys.argv:
        with open(BASELINE, 'w') as file:
            json.dump({'rustc': compiler(), 'instructions': found}, file, indent=1)
            file.write('\n')
        print(f'accepted: {found}')
        return
    with open(BASELINE) as file:
        accepted = json.load(file)
    same = accepted['rustc'] == compiler()
    allowed = ALLOWED if same else ALLOWED_OTHER_COMPILER
    if not same:
        print(f'guard: the accepted counts are from rustc {accepted["rustc"]}, this is {compiler()}: {allowed:.0%} is allowed')
    worse = []
    for name, value in found.items():
        before = accepted['instructions'].get(name)
        if before is None:
            worse.append(f'{name} has no accepted count')
            continue
        change = value / before - 1
        print(f'guard: {name:<10} {value:>13,} instructions, {change:+.2%}')
        if change > allowed:
            worse.append(f'{name} takes {change:+.1%} instructions ({before:,} before, {value:,} now)')
        elif change < -allowed:
            print(f'guard: {name} has become faster; accept that with `make guard-accept`')
    if worse:
        sys.exit('guard: ' + '; '.join(worse) + '\nguard: if that is worth it, `make guard-accept` and say why in the commit')


if __name__ == '__main__':
    main()
