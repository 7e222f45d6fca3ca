"""SVG plots without any library: bars for comparisons, lines for curves, both on logarithmic axes where that tells more.

Goes in: labels and numbers. Comes out: SVG as text. Knows nothing of brokers.
"""
import math
from html import escape

COLOURS = ['#2f6db3', '#d9822b', '#3a9a5b', '#9467bd', '#c44e52', '#7f7f7f']
FONT = 'font-family="system-ui, sans-serif"'


def text(x, y, words, size=12, anchor='start', colour='#333', extra=''):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" {FONT} {extra}>{escape(words)}</text>'


def page(width, height, parts, title):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
    ground = f'<title>{escape(title)}</title><rect width="{width}" height="{height}" fill="#fff"/>'
    return '\n'.join([head, ground, text(12, 22, title, 15, extra='font-weight="600"'), *parts, '</svg>']) + '\n'


def short(value):
    """Three digits and a unit."""
    for limit, unit in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if value >= limit:
            return f'{value / limit:.3g}{unit}'
    return f'{value:.3g}'


def decades(low, high):
    """The powers of ten around a range."""
    return math.floor(math.log10(low)), max(math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1)


def bars(title, unit, labels, series):
    """Horizontal bars on a logarithmic axis. `series` is a list of (name, values); a value may be missing."""
    left, right, top, row = 40 + 7 * max(map(len, labels)), 90, 62, 16
    height_of = row * len(series) + 12
    width, height = 900, top + height_of * len(labels) + 30
    values = [value for _, row_values in series for value in row_values if value]
    low, high = decades(min(values), max(values))
    scale = lambda value: left + (math.log10(max(value, 10 ** low)) - low) / (high - low) * (width - left - right)
    parts = []
    for power in range(low, high + 1):
        x = scale(10 ** power)
        parts.append(f'<line x1="{x:.1f}" y1="{top - 6}" x2="{x:.1f}" y2="{height - 22}" stroke="#ddd"/>')
        parts.append(text(x, height - 8, short(10 ** power), 11, 'middle', '#666'))
    for at, (name, row_values) in enumerate(series):
        colour = COLOURS[at % len(COLOURS)]
        parts.append(f'<rect x="{12 + 110 * at}" y="34" width="12" height="12" fill="{colour}"/>')
        parts.append(text(28 + 110 * at, 44, name))
        for number, value in enumerate(row_values):
            y = top + number * height_of + at * row
            if value:
                # A bar begins at the axis' left end, so a value on it would have none.
                wide = max(scale(value) - left, 1.5)
                parts.append(f'<rect x="{left}" y="{y}" width="{wide:.1f}" height="{row - 3}" fill="{colour}"/>')
                parts.append(text(left + wide + 4, y + 10, short(value), 11))
            else:
                parts.append(text(left + 4, y + 10, 'not measured', 10, colour='#999'))
    for number, label in enumerate(labels):
        parts.append(text(left - 8, top + number * height_of + height_of / 2, label, 12, 'end'))
    parts.append(text(width - 12, 44, unit, 12, 'end', '#666'))
    return page(width, height, parts, title)


def curves(title, x_unit, y_unit, series, y_from_zero=True):
    """Lines over a logarithmic x axis. `series` is a list of (name, [(x, y), ...])."""
    width, height, left, right, top, bottom = 620, 330, 70, 24, 66, 48
    points = [point for _, line in series for point in line]
    low, high = decades(min(x for x, _ in points), max(x for x, _ in points))
    most = max(y for _, y in points) * 1.15 or 1
    least = 0 if y_from_zero else min(y for _, y in points) * 0.9
    across = lambda x: left + (math.log10(x) - low) / (high - low) * (width - left - right)
    up = lambda y: height - bottom - (y - least) / (most - least) * (height - top - bottom)
    parts = []
    for power in range(low, high + 1):
        x = across(10 ** power)
        parts.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{height - bottom}" stroke="#eee"/>')
        parts.append(text(x, height - bottom + 16, short(10 ** power), 11, 'middle', '#666'))
    step = nice_step(most - least)
    at = math.ceil(least / step) * step
    while at <= most:
        parts.append(f'<line x1="{left}" y1="{up(at):.1f}" x2="{width - right}" y2="{up(at):.1f}" stroke="#ddd"/>')
        parts.append(text(left - 6, up(at) + 4, short(at) if at else '0', 11, 'end', '#666'))
        at += step
    offset = 12
    for number, (name, line) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        path = ' '.join(f'{across(x):.1f},{up(y):.1f}' for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="4" fill="{colour}"/>' for x, y in line]
        parts += [text(across(x), up(y) - 8, short(y), 11, 'middle', colour) for x, y in line]
        parts.append(f'<rect x="{offset}" y="34" width="12" height="12" fill="{colour}"/>')
        parts.append(text(offset + 16, 44, name))
        offset += 30 + 7 * len(name)
    parts.append(text((left + width - right) / 2, height - 10, x_unit, 12, 'middle', '#444'))
    parts.append(text(left, top - 6, y_unit, 11, 'start', '#666'))
    return page(width, height, parts, title)


def nice_step(span):
    """About five lines for a span."""
    raw = span / 5
    power = 10 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
