"""Jobs that a cluster can never start are refused before anything is submitted, with all reasons and limits at once.

The recorded outputs come from SLURM 22.05.8 with scripts/slurm_local.sh's configuration and more nodes, partitions and
enforced accounting; the words of ``sbatch --test-only`` are those that it said there.
"""

import pytest

from isosweep.launchers.settings import SlurmSettings
from isosweep.launchers.slurm.calls import ClusterError
from isosweep.launchers.slurm.limits import gres_parts
from isosweep.launchers.slurm.preflight import preflight
from isosweep.launchers.slurm.refusals import understand
from tests.launchers.slurm.conftest import RECORDED, StandIns

NO_NODE = "allocation failure: Requested node configuration is not available"
NO_PARTITION = (
    "sbatch: error: invalid partition specified: mian\nallocation failure: Invalid partition name specified"
)
NO_ACCOUNT = "allocation failure: Invalid account or account/partition combination specified"
NO_QOS = "allocation failure: Invalid qos specification"
NO_FEATURE = "allocation failure: Invalid feature specification"
POLICY = "allocation failure: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


def ask(**changes) -> SlurmSettings:
    """A job that every node takes, but for ``changes``."""
    return SlurmSettings(**{"timeout_min": 30, "cpus_per_task": 1, "gpus_per_node": 0, **changes})


@pytest.fixture
def odd(stand_ins) -> StandIns:
    """A cluster with closed partitions, drained nodes, typed GPUs and enforced accounts; sbatch takes every job."""
    stand_ins.say("scontrol", recorded("config"), when="show config")
    stand_ins.say("scontrol", recorded("partitions"), when="show partition")
    stand_ins.say("sinfo", recorded("nodes"))
    stand_ins.say("sacctmgr", recorded("associations"), when="withassoc")
    stand_ins.say("sacctmgr", recorded("qos"), when="show qos")
    stand_ins.say(
        "sbatch", err="sbatch: Job 12 to start at 2026-11-21T14:58:34 using 1 processors on nodes n1"
    )
    return stand_ins


def refused(odd: StandIns, words: str) -> None:
    odd.say("sbatch", err=words, code=1)


def test_a_request_that_fits_passes_and_only_the_cluster_itself_has_judged_it(odd):
    settings = ask(partition="main", timeout_min=60, cpus_per_task=4, gpus_per_node=2, mem_gb=7.8125)
    assert preflight(settings, jobs=5) == (settings, [])
    assert odd.calls("sbatch") == [
        "sbatch --test-only --output=/dev/null --partition=main --time=60 --cpus-per-task=4 --gpus-per-node=2"
        " --mem=8000M --array=0-4 --wrap=true"
    ]
    # our reading of nodes may be wrong or old: what SLURM takes is not refused for its CPUs or GPUs
    generous = ask(partition="main", cpus_per_task=99, gpus_per_node=9)
    assert preflight(generous, jobs=1) == (generous, [])


def test_every_option_reaches_the_cluster(odd):
    extra = {"mail_type": "END", "exclusive": True}
    preflight(ask(constraint="ib", exclude="n1", additional_parameters=extra), jobs=0)
    (call,) = odd.calls("sbatch")
    assert (
        "--constraint=ib --exclude=n1 --time=30 --cpus-per-task=1 --mail-type=END --exclusive --wrap" in call
    )


def test_typed_gpus_stand_instead_of_a_number_of_any(odd):
    """SLURM refuses a job with both: 'Invalid GRES specification (with and without type identification)'."""
    preflight(ask(gres="gpu:a100:1", gpus_per_node=1), jobs=1)
    preflight(ask(gres="lscratch:5", gpus_per_node=1), jobs=1)
    typed, other = odd.calls("sbatch")
    assert "--gpus-per-node" not in typed
    assert "--gpus-per-node=1" in other


# setting -> what sbatch --test-only says of it (None: it takes the job), and what we say
WRONG = {
    "unknown partition": (
        ask(partition="mian"),
        NO_PARTITION,
        r"^no partition 'mian' on this cluster; did you mean 'main'\? There are: cpu,",
    ),
    "one unknown of two": (
        ask(partition="main,gpux"),
        NO_PARTITION,
        "no partition 'gpux'.*did you mean 'gpu'",
    ),
    "empty partition": (ask(partition=""), NO_PARTITION, "no partition ''"),
    "drained partition": (
        ask(partition="old"),
        "allocation failure: Required partition not available (inactive or drain)",
        "partition 'old' is DRAIN: it starts no jobs; up are: cpu, gpu, high,",
    ),
    "hidden partition that is down": (ask(partition="secret"), NO_NODE, "partition 'secret' is DOWN"),
    "too many GPUs": (
        ask(partition="main", gpus_per_node=3),
        NO_NODE,
        r"^gpus_per_node=3: no node of partition 'main' has that; the largest, n1, has 2 GPUs; partitions that "
        r"have it: gpu\.$",
    ),
    "GPUs of a type that is elsewhere": (
        ask(partition="main", gres="gpu:a100:1"),
        NO_NODE,
        r"gres=gpu:a100:1: no node of partition 'main' has that; .* 0 x gpu:a100; partitions that have it: gpu",
    ),
    "too many of one type": (
        ask(partition="gpu", gres="gpu:a100:5"),
        NO_NODE,
        r"gres=gpu:a100:5: no node of partition 'gpu' has that; the largest, g1, has 4 x gpu:a100: ask for less",
    ),
    "a resource nobody has": (
        ask(partition="main", gres="shard:1"),
        "sbatch: error: Invalid generic resource (gres) specification",
        "^gres=shard:1: no node of partition 'main' has that; the largest, n1, has 0 x shard: ask for less.$",
    ),
    "GPUs where there are none": (
        ask(partition="cpu", gpus_per_node=1),
        NO_NODE,
        "the largest, c01, has 0 GPUs",
    ),
    "too many CPUs": (
        ask(partition="main", cpus_per_task=5),
        NO_NODE,
        "cpus_per_task=5: no node of partition 'main' has that; the largest, n1, has 4 CPUs; partitions that "
        "have it: cpu, gpu",
    ),
    "too much memory": (
        ask(partition="main", mem_gb=8),
        NO_NODE,
        r"^mem_gb=8: no node of partition 'main' has that; the largest, n1, has 7.8 GiB; partitions .*: cpu, gpu.$",
    ),
    "time": (
        ask(partition="main", timeout_min=61),
        None,
        r"timeout_min=61 is above the 60 minutes of partition 'main' \(MaxTime\); such a job waits for ever: set "
        "timeout_min=60 or less",
    ),
    "time in days": (
        ask(partition="gpu", timeout_min=2881),
        None,
        "above the 2880 minutes of partition 'gpu'",
    ),
    "unknown feature": (
        ask(partition="gpu", constraint="h100"),
        NO_FEATURE,
        r"constraint=h100: no node of partition 'gpu' has this feature; did you mean 'a100'\? There are: a100, ib",
    ),
    "account": (
        ask(partition="main", account="vison"),
        NO_ACCOUNT,
        r"^account 'vison' is not one of yours; did you mean 'vision'\? There are: theory, vision.$",
    ),
    "account of the partition": (
        ask(partition="gpu", account="theory"),
        None,
        "partition 'gpu' does not admit account 'theory'; it admits: vision",
    ),
    "unknown QOS": (
        ask(partition="main", qos="sort"),
        NO_QOS,
        "there is no QOS 'sort' on this cluster; did you mean 'short'",
    ),
    "QOS of the account": (
        ask(partition="main", account="theory", qos="long"),
        NO_QOS,
        "account 'theory' may not use QOS 'long'; there are: normal",
    ),
    "time of the QOS": (
        ask(partition="main", qos="short", timeout_min=31),
        f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}",
        r"^timeout_min=31 is above the 30 minutes of account 'vision' with QOS 'short' \(MaxWall\)",
    ),
    "more jobs than the account may have": (
        ask(partition="main"),
        f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}",
        "9 jobs, and account 'vision' with QOS 'default' may have 5 in the queue at once: sweep fewer at a time",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_request_that_can_never_run_is_refused_with_what_there_is(odd, case):
    settings, says, words = WRONG[case]
    if says is not None:
        refused(odd, says)
    with pytest.raises(ClusterError, match=words) as info:
        preflight(settings, jobs=9)
    assert "\n" not in str(info.value), "one problem, one line: SLURM's refusal is explained by it"
    assert info.value.words == "; ".join((says or "").splitlines())


def test_all_problems_are_told_at_once_although_slurm_names_the_first(odd):
    refused(odd, NO_PARTITION)
    worst = {"timeout_min": 9999, "mem_gb": 999, "gpus_per_node": 9, "account": "vison", "qos": "sort"}
    with pytest.raises(ClusterError, match="can never start here, for 5 reasons") as info:
        preflight(ask(partition="mian", **worst), jobs=1)
    # of the partitions that are up and shown none has a limit of time above all: cpu has none
    starts = [
        "no partition 'mian'",
        "account 'vison'",
        "there is no QOS 'sort'",
        "mem_gb=999",
        "gpus_per_node=9",
    ]
    lines = [line.strip() for line in str(info.value).splitlines()[1:]]
    assert len(lines) == len(starts)
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=True)), lines
    refused(odd, NO_NODE)
    with pytest.raises(ClusterError) as info:
        preflight(ask(partition="gpu", timeout_min=9999, mem_gb=999, cpus_per_task=99), jobs=1)
    for words in ("2880 minutes", "has 250 GiB", "has 64 CPUs"):
        assert words in str(info.value)


def test_defaults_that_the_cluster_cannot_give_are_lowered_with_a_line(odd):
    settings, (line,) = preflight(ask(partition="main", timeout_min=240), jobs=1)
    assert settings == ask(partition="main", timeout_min=60)
    assert (
        line
        == "timeout_min=240 is above the 60 minutes of partition 'main' (MaxTime): lowered to timeout_min=60"
    )
    assert "--time=60" in odd.calls("sbatch")[-1]
    small = "n1|main|2|8000|gpu:2|idle|(null)|none\n"
    odd.say("sinfo", small)
    odd.say("sbatch", err=NO_NODE, when="--cpus-per-task=4", code=1)
    settings, lines = preflight(ask(partition="main", timeout_min=240, cpus_per_task=4), jobs=1)
    assert (settings.timeout_min, settings.cpus_per_task) == (60, 2)
    assert len(lines) == 2
    with pytest.raises(ClusterError, match=r"^mem_gb=99"):
        preflight(ask(partition="main", timeout_min=240, mem_gb=99), jobs=1)


def test_a_limit_below_a_minute_is_not_lowered_to_zero_which_is_no_limit(odd):
    odd.say(
        "scontrol",
        recorded("partitions").replace("MaxTime=01:00:00", "MaxTime=00:00:30"),
        when="show partition",
    )
    with pytest.raises(ClusterError, match="above the 0 minutes of partition 'main'"):
        preflight(ask(partition="main", timeout_min=240), jobs=1)


def test_limits_of_a_partition_that_slurm_accepts_and_never_serves(odd):
    """--test-only takes 3000 MB where MaxMemPerNode=2000; the job then pends as MaxMemPerLimit."""
    rows = recorded("partitions").replace("MaxMemPerNode=UNLIMITED", "MaxMemPerNode=2000")
    odd.say("scontrol", rows.replace("MaxCPUsPerNode=UNLIMITED", "MaxCPUsPerNode=2"), when="show partition")
    with pytest.raises(ClusterError, match=r"mem_gb=3: .*the largest, n1, has 2 GiB"):
        preflight(ask(partition="main", mem_gb=3), jobs=1)
    refused(odd, NO_NODE)
    with pytest.raises(ClusterError, match=r"cpus_per_task=3: .*has 2 CPUs"):
        preflight(ask(partition="main", cpus_per_task=3), jobs=1)


def test_all_of_it_must_be_on_one_node(odd):
    odd.say(
        "sinfo", "a|main|64|8000|gpu:8(S:0-1)|idle|(null)|none\nb|main|4|512000|(null)|idle|(null)|none\n"
    )
    refused(odd, NO_NODE)
    words = "no single node of partition 'main' gives all of .*--gpus-per-node=1 --mem=102400M; SLURM's words"
    with pytest.raises(ClusterError, match=words):
        preflight(ask(partition="main", gpus_per_node=1, mem_gb=100), jobs=1)


def test_a_qos_may_lift_the_partitions_limit(odd):
    assert preflight(ask(partition="main", qos="free", timeout_min=90), jobs=1)[1] == []


def test_nothing_is_guessed_about_accounts_where_accounting_is_silent(odd):
    odd.say("sacctmgr", err="sacctmgr: error: Sending PersistInit msg: Connection refused", code=1)
    assert preflight(ask(partition="gpu", account="nobody_knows"), jobs=99)[1] == []
    _, (warning,) = preflight(ask(partition="main", qos="free", timeout_min=90), jobs=1)
    assert "unless QOS 'free' lifts it: accounting did not answer" in warning


def test_accounts_are_not_judged_where_nothing_is_enforced(odd):
    config = recorded("config").replace("associations,limits,qos", "none")
    odd.say("scontrol", config, when="show config")
    assert preflight(ask(partition="gpu", account="anything", qos="any"), jobs=10)[1] == []
    assert not odd.calls("sacctmgr")


def test_one_partition_of_two_that_fits_is_enough(odd):
    both = ask(partition="main,gpu", account="theory", timeout_min=60)
    assert preflight(both, jobs=1) == (both, [])
    # gpu allows two days and does not admit the account: main's hour counts
    with pytest.raises(ClusterError, match="above the 60 minutes of partition 'main'"):
        preflight(ask(partition="main,gpu", account="theory", timeout_min=61), jobs=1)
    refused(odd, NO_NODE)
    with pytest.raises(ClusterError, match="no node of the 2 partitions 'main', 'cpu' has that"):
        preflight(ask(partition="main,cpu", gpus_per_node=3), jobs=1)


def test_nodes_that_are_away_now_are_a_warning(odd):
    """SLURM refuses such a job in the test with the words for an impossible one, and takes it without the test."""
    # n1 and n2 as recorded when drained, with a separator of ours in the reason
    odd.say("sinfo", "".join(f"n{i}|main|4|8000|gpu:2|drained|(null)|a|b disk full\n" for i in (1, 2)))
    refused(odd, NO_NODE)
    _, (warning,) = preflight(ask(partition="main", gpus_per_node=2), jobs=1)
    assert warning == (
        "no node that fits takes jobs now (n1 drained (a|b disk full); n2 drained (a|b disk full)): "
        "the jobs wait until one returns."
    )
    with pytest.raises(ClusterError, match="gpus_per_node=3"):
        preflight(ask(partition="main", gpus_per_node=3), jobs=1)
    refused(odd, NO_ACCOUNT)
    with pytest.raises(ClusterError, match="the account does not exist"):
        preflight(ask(partition="main"), jobs=1)


def test_a_refusal_is_believed_where_one_fitting_node_is_there(odd):
    odd.say("sinfo", "n1|main|4|8000|gpu:2|idle|(null)|none\nn2|main|4|8000|gpu:2|down*|(null)|none\n")
    refused(odd, NO_NODE)
    with pytest.raises(ClusterError, match="no single node of partition 'main' gives all of"):
        preflight(ask(partition="main"), jobs=1)
    odd.say("sinfo", "n1|main|4|8000|gpu:1|idle|(null)|none\nn2|main|4|8000|gpu:2|down*|(null)|none\n")
    _, (warning,) = preflight(ask(partition="main", gpus_per_node=2), jobs=1)
    assert "no node that fits takes jobs now (n2 down*)" in warning


TAKES_JOBS = {"idle~": True, "mixed": True, "planned": True, "reserved": True, "powered_down": True}
TAKES_NONE = {
    "idle*": False,
    "down*": False,
    "unknown*": False,
    "idle$": False,
    "maint": False,
    "draining": False,
}


@pytest.mark.parametrize(("state", "takes"), (TAKES_JOBS | TAKES_NONE).items())
def test_which_states_of_a_node_take_jobs(odd, state, takes):
    odd.say("sinfo", f"n1|main|4|8000|gpu:2|{state}|(null)|none\n")
    refused(odd, NO_NODE)
    if takes:
        with pytest.raises(ClusterError):
            preflight(ask(partition="main"), jobs=1)
    else:
        assert state in preflight(ask(partition="main"), jobs=1)[1][0]


def test_more_jobs_than_the_cluster_keeps_are_a_warning_and_one_array_is_asked_about(odd):
    _, (warning,) = preflight(ask(partition="main"), jobs=10_001)
    assert "10001 jobs, and the cluster keeps 10000 at once (MaxJobCount)" in warning
    assert "--array=0-1000 " in odd.calls("sbatch")[-1]


REFUSALS = {
    NO_NODE: "no single node of partition 'main' gives all of",
    NO_ACCOUNT: "set account=",
    NO_QOS: "set qos=",
    NO_FEATURE: "no node has this constraint",
    "allocation failure: Required partition not available (inactive or drain)": "choose another one",
    f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}": "lower timeout_min",
    f"sbatch: error: QOSMaxCpuPerJobLimit\n{POLICY}": "a limit of your account or QOS forbids it",
    "sbatch: error: our plugin says no": "the cluster refuses such a job",
}


@pytest.mark.parametrize("words", REFUSALS)
def test_a_refusal_that_nothing_explains_is_translated_and_kept(odd, words):
    refused(odd, words)
    with pytest.raises(ClusterError) as info:
        preflight(ask(partition="main"), jobs=1)
    assert REFUSALS[words] in str(info.value)
    assert str(info.value).endswith(f"SLURM's words: {'; '.join(words.splitlines())}.")


def test_a_refusal_stands_beside_problems_that_do_not_explain_it(odd):
    refused(odd, "allocation failure: Invalid wckey specification")
    with pytest.raises(
        ClusterError, match=r"for 2 reasons:\n  timeout_min=61 .*\n  the cluster wants a valid wckey"
    ):
        preflight(ask(partition="main", timeout_min=61), jobs=1)


def test_a_last_word_that_does_not_come_is_a_warning(odd):
    refused(odd, "allocation failure: Socket timed out on send/recv operation")
    _, (warning,) = preflight(ask(partition="main"), jobs=1)
    assert "did not confirm" in warning
    assert "Socket timed out" in warning


def test_no_default_partition_is_an_error(odd):
    odd.say("scontrol", recorded("partitions").replace("Default=YES", "Default=NO"), when="show partition")
    with pytest.raises(ClusterError, match="no default partition: set partition=; there are: cpu, gpu"):
        preflight(ask(), jobs=1)


def test_words_of_several_lines_become_one(odd):
    assert str(understand("a\n\n b ")) == "the cluster refuses such a job. SLURM's words: a; b"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("gpu:a100:4(S:0-1),gpu:v100:2", [("gpu", "a100", 4), ("gpu", "v100", 2)]),
        ("gpu:2", [("gpu", "", 2)]),
        ("gres/gpu:a100", [("gpu", "a100", 1)]),
        ("gpu:tesla:no_consume:2,shard:1K", [("gpu", "tesla", 2), ("shard", "", 1024)]),
        ("(null)", []),
        ("", []),
    ],
)
def test_gres_parts(text, parts):
    assert list(gres_parts(text)) == parts


# --- the real cluster ----------------------------------------------------------------------------

slurm = pytest.mark.slurm


@slurm
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"partition": "mian"}, "^no partition 'mian'.*did you mean 'main'"),
        ({"gpus_per_node": 3}, r"^gpus_per_node=3: .* has 2 GPUs: ask for less\.$"),
        ({"gres": "gpu:a100:1"}, r"^gres=gpu:a100:1: .* has 0 x gpu:a100: ask for less\.$"),
        ({"timeout_min": 61}, "^timeout_min=61 is above the 60 minutes of partition 'main'"),
        ({"mem_gb": 8}, "^mem_gb=8: no node of partition 'main' has that; the largest, n1, has 7.8 GiB"),
        ({"cpus_per_task": 5}, "^cpus_per_task=5: .* has 4 CPUs"),
        ({"constraint": "x|y"}, "no node has this constraint.*SLURM's words.*Invalid feature"),
        (
            {"timeout_min": 999, "mem_gb": 99, "gpus_per_node": 9},
            "for 3 reasons:\n.*60 minutes.*\n.*7.8.*\n.*2 GPUs",
        ),
    ],
    ids=["partition", "GPUs", "type", "time", "memory", "CPUs", "last word", "all at once"],
)
def test_real_cluster_refuses(cluster, changes, words):
    with pytest.raises(ClusterError, match=words):
        preflight(ask(**changes), jobs=1)


@slurm
def test_real_cluster_takes_what_fits(cluster):
    fits = ask(partition="scavenge", timeout_min=60, cpus_per_task=4, gpus_per_node=2, mem_gb=2)
    assert preflight(fits, jobs=100) == (fits, [])
    assert preflight(ask(gres="gpu:1", gpus_per_node=1), jobs=1)[1] == []
    settings, (line,) = preflight(SlurmSettings(), jobs=1)
    assert (settings.timeout_min, settings.cpus_per_task) == (60, 4)
    assert "lowered to timeout_min=60" in line
    _, (warning,) = preflight(fits, jobs=10_001)
    assert "MaxJobCount" in warning
