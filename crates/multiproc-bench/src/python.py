"""CPython's side of the benchmark: one line in, `JOB N`; one line out, `NANOSECONDS` or `! why`."""

import concurrent.futures
import multiprocessing
import sys
import time

WORKERS = int(sys.argv[1])
context = multiprocessing.get_context("fork")


def square(n):
    return n * n


def nothing():
    pass


def spin(loops):
    x = 1
    for _ in range(loops):
        x = x * 5 & 0xFFFFFFFF
    return x


def check(right, what):
    if not right:
        raise AssertionError(what)


pools = {}


def pool(workers=WORKERS):
    if ("pool", workers) not in pools:
        pools["pool", workers] = context.Pool(workers)
    return pools["pool", workers]


def futures():
    if "futures" not in pools:
        pools["futures"] = concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=context)
    return pools["futures"]


def timed(run):
    start = time.perf_counter_ns()
    result = run()
    return time.perf_counter_ns() - start, result


def map_one(n):
    took, result = timed(lambda: pool().map(square, range(n), chunksize=1))
    check(result == [i * i for i in range(n)], "map")
    return took


def map_default(n):
    took, result = timed(lambda: pool().map(square, range(n)))
    check(result == [i * i for i in range(n)], "map")
    return took


def futures_map(n):
    took, result = timed(lambda: list(futures().map(square, range(n), chunksize=1)))
    check(result == [i * i for i in range(n)], "map")
    return took


def apply(n):
    took, result = timed(lambda: [pool().apply(square, (i,)) for i in range(n)])
    check(result == [i * i for i in range(n)], "apply")
    return took


def submit(n):
    took, result = timed(lambda: [futures().submit(square, i).result() for i in range(n)])
    check(result == [i * i for i in range(n)], "submit")
    return took


def process(n):
    def run():
        for _ in range(n):
            child = context.Process(target=nothing)
            child.start()
            child.join()
            check(child.exitcode == 0, "process")

    return timed(run)[0]


def summing(incoming, outgoing):
    while True:
        n = incoming()
        outgoing(sum(incoming() for _ in range(n)))


def line(name):
    """A child that sums what comes on a line, and the functions to talk to it."""
    if name not in pools:
        if name == "pipe":
            there, send = context.Pipe(duplex=False)
            take, answer = context.Pipe(duplex=False)
            ends = (there.recv, answer.send, send.send, take.recv)
        else:
            first, second = context.SimpleQueue(), context.SimpleQueue()
            ends = (first.get, second.put, first.put, second.get)
        child = context.Process(target=summing, args=ends[:2], daemon=True)
        child.start()
        pools[name] = ends[2:]
    return pools[name]


def one_way(n, name):
    send, take = line(name)

    def run():
        send(n)
        for i in range(n):
            send(i)
        return take()

    took, result = timed(run)
    check(result == n * (n - 1) // 2, name)
    return took


def round_trip(n):
    send, take = line("pipe")

    def run():
        for i in range(n):
            send(1)
            send(i)
            check(take() == i, "round trip")

    return timed(run)[0]


def bytes_(n):
    data = b"\x07" * (100 << 20)

    def run():
        for _ in range(n):
            check(pool().apply(len, (data,)) == len(data), "bytes")

    return timed(run)[0]


def lock(n):
    one = context.Lock()

    def run():
        for _ in range(n):
            with one:
                pass

    return timed(run)[0]


def increment(value, start, n):
    start.wait()
    for _ in range(n):
        with value.get_lock():
            value.value += 1


def increments(n):
    value, start = context.Value("q", 0), context.Barrier(3)
    each = n // 2
    children = [context.Process(target=increment, args=(value, start, each)) for _ in range(2)]
    for child in children:
        child.start()
    start.wait()
    took, _ = timed(lambda: [child.join() for child in children])
    check(value.value == 2 * each, "increments")
    return took


def tasks(n, loops):
    took, result = timed(lambda: pool().map(spin, [loops] * n, chunksize=1))
    check(len(set(result)) == 1, "tasks")
    return took


def map_on(n, workers):
    took, result = timed(lambda: pool(workers).map(square, range(n), chunksize=1))
    check(result == [i * i for i in range(n)], "map")
    return took


def payload(n, size):
    data = b"\x07" * size
    took, result = timed(lambda: pool().map(len, [data] * n, chunksize=1))
    check(result == [size] * n, "payload")
    return took


def pace(n):
    """Nanoseconds that `spin` takes for `n` loops."""
    return timed(lambda: spin(n))[0]


def pid(_):
    """The process of one worker of a pool."""
    return pool()._pool[0].pid


JOBS = {
    "map_one": map_one,
    "map_default": map_default,
    "futures_map": futures_map,
    "apply": apply,
    "submit": submit,
    "process": process,
    "pipe": lambda n: one_way(n, "pipe"),
    "queue": lambda n: one_way(n, "queue"),
    "round_trip": round_trip,
    "bytes": bytes_,
    "lock": lock,
    "increments": increments,
    "tasks": tasks,
    "map_on": map_on,
    "payload": payload,
    "pace": pace,
    "pid": pid,
}

for order in sys.stdin:
    job, *numbers = order.split()
    try:
        print(JOBS[job](*map(int, numbers)), flush=True)
    except Exception as error:
        print("!", repr(error), flush=True)

for name, one in pools.items():
    if name[0] == "pool":
        one.terminate()
    elif name == "futures":
        one.shutdown()
for child in multiprocessing.active_children():
    child.kill()
