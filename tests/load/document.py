"""The figures of bench.py as tables and plots: the generated part of docs/performance.md.

Goes in: docs/performance/bench.json. Comes out: Markdown between two markers of the document, and SVG files beside the JSON.
Measures nothing.
"""
import datetime
import json
import os
import re

import plot
from brokers import NAMES, ROOT
from curves import CURVES
from scenarios import LOADS, SECS, WARMUP

OUT = os.environ.get('BENCH_OUT', os.path.join(ROOT, 'docs', 'performance'))
DATA = os.path.join(OUT, 'bench.json')
DOCUMENT = f'{OUT}.md'
BEGIN, END = '<!-- figures: written by tests/load/bench.py -->', '<!-- end of figures -->'


def load():
    try:
        with open(DATA) as file:
            return json.load(file)
    except FileNotFoundError:
        return {'about': {}, 'figures': {}}


def save(figures, versions):
    """Puts new figures in the place of older ones; scenarios that were not run keep theirs."""
    data = load()
    about = {
        'date': str(datetime.date.today()), 'machine': machine(), 'note': os.environ.get('BENCH_NOTE', ''),
        'seconds': SECS, 'warmup': WARMUP, 'versions': versions,
    }
    for name, found in figures.items():
        data['about'][name] = about | {'version': versions.get(name, next(iter(versions.values())))}
        data['figures'].setdefault(name, {}).update(found)
    os.makedirs(OUT, exist_ok=True)
    with open(DATA, 'w') as file:
        json.dump(data, file, indent=1)
        file.write('\n')


def machine():
    with open('/proc/cpuinfo') as file:
        model = next((line.split(':')[1].strip() for line in file if line.startswith('model name')), 'unknown CPU')
    return f'{os.cpu_count()} cores of {model}, Linux {os.uname().release}'


def table(header, rows):
    lines = ['| ' + ' | '.join(header) + ' |', '|' + '---|' * len(header)]
    return '\n'.join(lines + ['| ' + ' | '.join(row) + ' |' for row in rows]) + '\n'


def rate(value):
    return f'{value:,.0f}/s' if value else '-'


def number(value, digits=2):
    return '-' if value is None else f'{value:.{digits}f}'


def ratio(larger, smaller):
    return f'{larger / smaller:.1f} x' if larger and smaller else '-'


def pair(figures, kind):
    """p50 / p99 / p99.9 of a latency, ms."""
    values = [figures.get(f'{kind}_{quantile}') for quantile in ('p50', 'p99', 'p999')]
    return '-' if values[0] is None else ' / '.join(f'{value:.3g}' for value in values)


ROUTES = [
    ('topic', 'topic exchange with 10,000 wildcard bindings, a key for each, 100 B'),
    ('connections', '5,000 connections with a message a second each, persistent, confirms, 1 KiB'),
    ('queues', 'thousands of durable queues with a message a second each, persistent, confirms, 1 KiB'),
]


def both(figures, name):
    return [figures.get(broker, {}).get(name) for broker in names_of(figures)]


def names_of(figures):
    return [name for name in NAMES if figures.get(name)]


def compared(ours, theirs, key, more_is_better=True):
    if not ours or not theirs:
        return '-'
    ours, theirs = ours.get(key), theirs.get(key)
    return ratio(ours, theirs) if more_is_better else ratio(theirs, ours)


def loads_table(figures):
    """Rates and CPU, a row for each load."""
    names = names_of(figures)
    header = ['load'] + [f'{NAMES[name]}, in' for name in names] + [f'{NAMES[name]}, out' for name in names]
    header += [f'{NAMES[name]}, s/M' for name in names] + (['rate', 'less CPU'] if len(names) == 2 else [])
    rows = []
    for name, words in [(name, words) for name, words, _ in LOADS] + ROUTES:
        found = both(figures, name)
        if not any(found):
            continue
        row = [words] + [rate(run and run['published']) for run in found] + [rate(run and run['consumed']) for run in found]
        row += [number(run and run['per_million']) for run in found]
        if len(names) == 2:
            row += [compared(*found, 'consumed'), compared(*found, 'per_million', more_is_better=False)]
        rows.append(row)
    return table(header, rows)


def latency_table(figures):
    names, rows = names_of(figures), []
    for name, words in [(name, words) for name, words, _ in LOADS] + ROUTES:
        found = both(figures, name)
        if any(found):
            row = [words] + [pair(run, 'deliver') if run else '-' for run in found]
            row += [pair(run, 'confirm') if run else '-' for run in found]
            rows.append(row + [number(run and run['generator_cores']) for run in found] + [number(run and run['other_cores']) for run in found])
    header = ['load'] + [f'{NAMES[name]}, deliver' for name in names] + [f'{NAMES[name]}, confirm' for name in names]
    header += [f'generator beside {NAMES[name]}, cores' for name in names] + [f'others beside {NAMES[name]}, cores' for name in names]
    return table(header, rows)


SIZES = [
    ('memory', 'idle_mib', 'memory at start', '{:.1f} MiB', False),
    ('memory', 'connection_kib', 'memory per idle connection with a channel (1,000)', '{:.1f} KiB', False),
    ('memory', 'connections_per_second', 'connections opened, one after the other', '{:,.0f}/s', True),
    ('queues', 'queues', 'many durable queues', '{:,.0f}', None),
    ('queues', 'queue_kib', 'memory per idle one of them', '{:.2f} KiB', False),
    ('queues', 'get_queues_ms', 'GET /api/queues with all of them', '{:.0f} ms', False),
    ('queues', 'get_page_ms', 'GET a page of 100 of them', '{:.0f} ms', False),
    ('queues', 'restart_seconds', '`kill -9` with them, until the last one answers', '{:.2f} s', False),
    ('declarations', 'declare_single', 'declare durable queues, one by one', '{:,.0f}/s', True),
    ('declarations', 'bind_single', 'bind, one by one', '{:,.0f}/s', True),
    ('declarations', 'delete_single', 'delete, one by one', '{:,.0f}/s', True),
    ('declarations', 'declare_pipelined', 'declare, 200 at a time', '{:,.0f}/s', True),
    ('declarations', 'bind_pipelined', 'bind, 200 at a time', '{:,.0f}/s', True),
    ('declarations', 'delete_pipelined', 'delete, 200 at a time', '{:,.0f}/s', True),
    ('topic', 'bind_per_second', 'bind 10,000 wildcard patterns, 200 at a time', '{:,.0f}/s', True),
    ('backlog', 'messages', 'a deep queue: persistent messages of 100 B', '{:,.0f}', None),
    ('backlog', 'fill', 'filled, confirms (window 2,000)', '{:,.0f}/s', True),
    ('backlog', 'fill_per_million', 'broker CPU for that', '{:.2f} s/M', False),
    ('backlog', 'rss_mib', 'memory with them', '{:.1f} MiB', False),
    ('backlog', 'over_idle_mib', 'of that more than before', '{:.1f} MiB', None),
    ('backlog', 'disk_per_message', 'disk per message', '{:.0f} B', False),
    ('backlog', 'restart_seconds', '`kill -9` with these messages, until the queue answers', '{:.2f} s', False),
    ('backlog', 'drain', 'drained, auto-ack', '{:,.0f}/s', True),
    ('backlog', 'drain_per_million', 'broker CPU for that', '{:.2f} s/M', False),
    ('backlog', 'rss_after_mib', 'memory afterwards', '{:.1f} MiB', False),
]


def sizes_table(figures):
    names, rows = names_of(figures), []
    for scenario, key, words, form, more_is_better in SIZES:
        found = both(figures, scenario)
        if not any(run and key in run for run in found):
            continue
        row = [words] + [form.format(run[key]) if run and key in run else '-' for run in found]
        if len(names) == 2:
            row.append('' if more_is_better is None else compared(*found, key, more_is_better))
        rows.append(row)
    return table(['what'] + [NAMES[name] for name in names] + (['better'] if len(names) == 2 else []), rows)


def plots(figures):
    """Writes the bars; returns the file names with a word about each."""
    names, written = names_of(figures), []
    rows = [(name, words) for name, words, _ in LOADS if name != 'latency'] + ROUTES
    rows = [(name, words) for name, words in rows if any(both(figures, name))]
    labels = [name for name, _ in rows]
    for key, title, unit in [
        ('consumed', 'Messages consumed per second', 'messages/s'),
        ('per_million', 'Broker CPU per million messages (less is better)', 'seconds'),
    ]:
        series = [(NAMES[broker], [(figures[broker].get(name) or {}).get(key) for name, _ in rows]) for broker in names]
        if any(value for _, values in series for value in values):
            written.append(svg(f'{key.replace("_", "-")}.svg', plot.bars(title, unit, labels, series), title))
    quantiles = [f'{kind}_{quantile}' for kind in ('deliver', 'confirm') for quantile in ('p50', 'p99', 'p999')]
    found = [(NAMES[broker], figures[broker].get('latency')) for broker in names]
    if any(run for _, run in found):
        words = [f'{kind} {quantile}' for kind in ('deliver', 'confirm') for quantile in ('p50', 'p99', 'p99.9')]
        series = [(name, [(run or {}).get(key) for key in quantiles]) for name, run in found]
        title = 'Latency at 10,000 persistent confirmed messages a second (less is better)'
        written.append(svg('latency.svg', plot.bars(title, 'ms', words, series), title))
    return written


def curve_plots(figures):
    written = []
    for name, title, grows, _, function in CURVES:
        points = figures.get('curves', {}).get(name)
        if points:
            lines = [('Leveret', [(point['x'], point['per_million']) for point in points])]
            if 'drain' in points[0]:
                lines = [('in', lines[0][1]), ('out', [(point['x'], point['drain']) for point in points])]
            words = f'{title}: CPU per million messages'
            drawing = plot.curves(words, grows, 'broker CPU, s per million messages', lines)
            written.append((svg(f'curve-{name}.svg', drawing, words), function.__doc__.strip(), points))
    return written


def svg(name, drawing, words):
    with open(os.path.join(OUT, name), 'w') as file:
        file.write(drawing)
    return f'![{words}]({os.path.basename(OUT)}/{name})'


def about_lines(data, names):
    """Where and when; a line for each session, if they were different ones."""
    lines = []
    for name in names:
        about = data['about'].get(name)
        if about:
            note = f'; {about["note"]}' if about['note'] else ''
            spans = f'{about["seconds"]:g} s after {about["warmup"]:g} s'
            lines.append(f'* {about["version"]}: {about["date"]}, {about["machine"]}; {spans} per load{note}.')
    return lines


def compared_parts(data, figures, names):
    """What was measured of each broker."""
    return [
        '\n'.join(about_lines(data, names)),
        '"s/M" is the broker\'s CPU seconds per million messages consumed; it varies less from run to run than rates, which vary by '
        'a third. Every confirm of Leveret has been synced to disk; RabbitMQ\'s classic queues confirm without a sync.',
        '### Loads', loads_table(figures), '\n\n'.join(plots(figures)),
        '### Latency', 'p50 / p99 / p99.9 in ms. Where the rate is not fixed the broker is saturated, and this is time spent in queues.',
        latency_table(figures),
        '### Sizes, declarations, deep queues', sizes_table(figures),
        'Commands, with `--pid` of the broker added:',
        '\n'.join(f'    {name}: leveret perf {flags}' for name, _, flags in LOADS),
    ]


def text():
    data = load()
    figures = data['figures']
    names = names_of(figures)
    parts = compared_parts(data, figures, names) if names else []
    curves = curve_plots(figures)
    if curves:
        parts += ['### Curves', '\n'.join(about_lines(data, ['curves'])),
                  'The same work at x, 10x and 100x of one quantity. A flat line means that cost grows with work, not with size.']
        for image, words, points in curves:
            rows = [[f'{p["x"]:,}', number(p['per_million']), rate(p['consumed']), number(p['deliver_p99'])] for p in points]
            parts += [f'{words}', table(['size', 's/M', 'consumed', 'deliver p99, ms'], rows), image]
    return '\n\n'.join(part.strip('\n') for part in parts if part.strip())


def write():
    """Puts the generated part into the document, between its markers."""
    try:
        with open(DOCUMENT) as file:
            before = file.read()
    except FileNotFoundError:
        before = f'# Performance\n\n{BEGIN}\n{END}\n'
    pattern = re.compile(f'{re.escape(BEGIN)}.*{re.escape(END)}', re.DOTALL)
    if not pattern.search(before):
        raise SystemExit(f'{DOCUMENT} has lost its markers {BEGIN} and {END}')
    generated = f'{BEGIN}\n\n{text()}\n\n{END}'
    with open(DOCUMENT, 'w') as file:
        file.write(pattern.sub(lambda _: generated, before))
