#include "overlay/sandbox.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "layers/base/temp_dir.h"
#include "overlay/capabilities.h"
#include "overlay/sandbox_plan.h"
#include "overlay/sandbox_users.h"
#include "overlay/seccomp.h"
#include "tests/overlay/sandbox_fixture.h"

using namespace surcoat;
using namespace surcoat::overlay;
using namespace surcoat::test;

namespace {

std::string output_of(const std::string& script) {
    const Ran ran = run_in_sandbox(shell(script));
    INFO(script << "\n" << ran.errors);
    CHECK(ran.status.ok());
    return ran.output;
}

Errc error_of(const ContainerSpec& spec, std::string* text = nullptr) {
    try {
        run_in_sandbox(spec);
    } catch (const Error& e) {
        if (text != nullptr) *text = e.what();
        CHECK_FALSE(e.hint().empty());
        return e.code();
    }
    FAIL("it ran");
    return Errc::failed;
}

}  // namespace

TEST_CASE("a command's exit status comes back exactly", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    struct Case {
        const char* script;
        int code;
        int signal;
    };
    for (const Case& c : {Case{"exit 0", 0, 0}, Case{"exit 3", 3, 0}, Case{"exit 255", 255, 0},
                          Case{"kill -9 $$", 0, SIGKILL}, Case{"kill -TERM $$", 0, SIGTERM},
                          Case{"kill -SEGV $$", 0, SIGSEGV}}) {
        INFO(c.script);
        const Ran ran = run_in_sandbox(shell(c.script));
        CHECK(ran.status.code == c.code);
        CHECK(ran.status.signal == c.signal);
    }
    CHECK(run_in_sandbox(shell("kill -9 $$")).status.shell_code() == 137);
}

TEST_CASE("a command that cannot be started is an error that says why", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    std::string text;
    ContainerSpec spec;
    spec.args = {"nosuchprogram"};
    CHECK(error_of(spec, &text) == Errc::not_found);
    CHECK(text.find("nosuchprogram") != std::string::npos);
    CHECK(text.find("PATH") != std::string::npos);
    spec.args = {"/etc/passwd"};
    CHECK(error_of(spec, &text) == Errc::denied);
    CHECK(text.find("permission denied") != std::string::npos);
    spec.args = {"/etc"};
    CHECK(error_of(spec) == Errc::denied);
    spec.args = {};
    CHECK(error_of(spec) == Errc::invalid);

    struct Case {
        const char* program;
        Errc code;
        const char* text;
    };
    for (const Case& c :
         {Case{"text", Errc::denied, "exec format error"}, Case{"orphan", Errc::not_found, "interpreter"},
          Case{"forged", Errc::denied, "magic link"}, Case{"/proc/self/exe", Errc::denied, "magic link"}}) {
        INFO(c.program);
        spec.args = {c.program};
        UniqueFd copy = busybox_root();
        put_file(copy.get(), "bin/text", "echo hello\n", 0755);
        put_file(copy.get(), "bin/orphan", "#!/no/such/interpreter\n", 0755);
        put_file(copy.get(), "bin/forged", "#!/proc/self/exe\n", 0755);
        try {
            run_in_sandbox(spec, {}, std::move(copy));
            FAIL("it ran");
        } catch (const Error& e) {
            CHECK(e.code() == c.code);
            CHECK(std::string(e.what()).find(c.text) != std::string::npos);
        }
    }
}

TEST_CASE("environment, working directory, arguments and standard input arrive", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerSpec spec = shell("echo \"$A|$PATH|$HOME|$HOSTNAME|$PWD|$1\"; cat; umask; echo oops >&2");
    spec.args.push_back("zero");
    spec.args.push_back("one two");
    spec.env = {"A=1 2", "PATH=/bin"};
    spec.working_dir = "/made/for/me";
    const Ran ran = run_in_sandbox(spec, "from stdin\n");
    CHECK(ran.status.ok());
    CHECK(ran.output == "1 2|/bin|/root|0123456789ab|/made/for/me|one two\nfrom stdin\n0022\n");
    CHECK(ran.errors == "oops\n");

    spec = shell("hostname; cat /etc/hostname; grep -c example /etc/hosts");
    spec.hostname = "example";
    CHECK(run_in_sandbox(spec).output == "example\nexample\n1\n");
    CHECK(output_of("test -s /etc/hosts && test -e /etc/resolv.conf && echo there") == "there\n");
}

TEST_CASE("process 1 sees and reaps only its own", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    CHECK(output_of("ls /proc | grep -c '^[0-9]'; echo $$") == "4\n2\n");
    // Orphans become children of process 1; none may stay a zombie.
    CHECK(output_of("(sh -c 'sh -c \"exit 1\" &' ); (sh -c 'true & exec true'); usleep 200000; "
                    "cat /proc/[0-9]*/stat | grep -c ') Z ' ; true") == "0\n");
}

TEST_CASE("what a command leaves running ends with it", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    const auto begin = std::chrono::steady_clock::now();
    CHECK(run_in_sandbox(shell("sleep 1000 & exit 7")).status.code == 7);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(100));
}

TEST_CASE("signals are forwarded to the command", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    int fds[2];
    REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
    const UniqueFd read_end(fds[0]);
    UniqueFd write_end(fds[1]);
    const UniqueFd null = open_file("/dev/null", O_RDWR);
    auto sandbox = Sandbox::start(
        busybox_root(), shell("trap 'echo got; exit 42' USR1; echo ready; while :; do sleep 1; done"), "x",
        {null.get(), write_end.get(), write_end.get(), {}});
    write_end.reset();
    char buffer[64];
    REQUIRE(::read(read_end.get(), buffer, sizeof buffer) == 6);
    sandbox.signal(SIGUSR1);
    CHECK(sandbox.wait().code == 42);
    CHECK(::read(read_end.get(), buffer, sizeof buffer) == 4);
}

TEST_CASE("a sandbox that is let go leaves no process", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    std::optional<ProcessIdentity> init;
    {
        const UniqueFd null = open_file("/dev/null", O_RDWR);
        const auto sandbox = Sandbox::start(busybox_root(), shell("sleep 1000"), "x",
                                            {null.get(), null.get(), null.get(), {}});
        init = ProcessIdentity::of(sandbox.init_pid());
        REQUIRE(init);
        CHECK(init->alive());
    }
    CHECK_FALSE(init->alive());
}

TEST_CASE("killing the process that watches a sandbox ends the sandbox", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    int fds[2];
    REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
    const UniqueFd read_end(fds[0]);
    UniqueFd write_end(fds[1]);
    const pid_t child = ::fork();
    if (child == 0) {
        try {
            auto sandbox = Sandbox::start(busybox_root(), shell("echo up; sleep 1000"), "x",
                                          {0, write_end.get(), write_end.get(), {}});
            sandbox.wait();
        } catch (...) {}
        ::_exit(0);
    }
    write_end.reset();
    char buffer[16];
    REQUIRE(::read(read_end.get(), buffer, sizeof buffer) == 3);
    ::kill(child, SIGKILL);
    wait_for(child);
    // End of file: every process that held the pipe is gone.
    CHECK(::read(read_end.get(), buffer, sizeof buffer) == 0);
}

TEST_CASE("users are found in the root's own files", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    struct Case {
        const char* user;
        const char* expected;
    };
    for (const Case& c :
         {Case{"", "0 0 0 /root"}, Case{"root", "0 0 0 /root"}, Case{"amy", "1000 1001 1001 10 60 /home/amy"},
          Case{"1000", "1000 1001 1001 10 60 /home/amy"}, Case{"amy:games", "1000 60 60 /home/amy"},
          Case{"1000:7", "1000 7 7 /home/amy"}, Case{"4321", "4321 0 0 /"},
          Case{"4321:4322", "4321 4322 4322 /"}, Case{"root:wheel", "0 10 10 /root"}}) {
        INFO(c.user);
        ContainerSpec spec = shell("echo $(id -u) $(id -g) $(id -G) $HOME");
        spec.user = c.user;
        CHECK(run_in_sandbox(spec).output == std::string(c.expected) + "\n");
    }
    std::string text;
    ContainerSpec spec = shell("true");
    spec.user = "ammy";
    CHECK(error_of(spec, &text) == Errc::invalid);
    CHECK(text.find("'ammy'") != std::string::npos);
    CHECK(text.find("did you mean 'amy'?") != std::string::npos);
    spec.user = "amy:nogroup";
    CHECK(error_of(spec) == Errc::invalid);
    spec.user = "4294967295";
    CHECK_THROWS_WITH(run_in_sandbox(spec), Catch::Contains("out of range"));
}

TEST_CASE("capabilities are docker's, with what was added and dropped", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    const auto field = [](const ContainerSpec& base, const char* name) {
        ContainerSpec spec = base;
        spec.args = {"sh", "-c", std::string("grep ") + name + " /proc/self/status | cut -f2"};
        std::string text = run_in_sandbox(spec).output;
        while (!text.empty() && text.back() == '\n') text.pop_back();
        return text;
    };
    const CapabilityMask available = available_capabilities();
    const auto hex = [&](CapabilityMask mask) {
        char text[32];
        std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(mask & available));
        return std::string(text);
    };
    ContainerSpec spec;
    for (const char* name : {"CapBnd", "CapPrm", "CapEff"}) CHECK(field(spec, name) == hex(0xa00425fb));
    for (const char* name : {"CapInh", "CapAmb"}) CHECK(field(spec, name) == hex(0));
    spec.user = "amy";
    CHECK(field(spec, "CapBnd") == hex(0xa00425fb));
    CHECK(field(spec, "CapEff") == hex(0));
    spec.user = "";
    spec.cap_drop = {"all"};
    CHECK(field(spec, "CapEff") == hex(0));
    spec.cap_add = {"chown", "CAP_KILL"};
    CHECK(field(spec, "CapEff") == hex(0x21));
    spec.cap_drop = {"net_raw"};
    spec.cap_add = {"ALL"};
    CHECK(field(spec, "CapEff") == hex(~(CapabilityMask{1} << 13)));
    spec.cap_add = {"CHWON"};
    spec.args = {"true"};
    CHECK_THROWS_WITH(run_in_sandbox(spec), Catch::Contains("did you mean 'CAP_CHOWN'?"));
}

TEST_CASE("the seccomp filter refuses what docker's refuses, and no_new_privs is set when asked",
          "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    CHECK(output_of("grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\t'") ==
          "NoNewPrivs:0\nSeccomp:2\n");
    ContainerSpec spec = shell("grep NoNewPrivs /proc/self/status | cut -f2");
    spec.no_new_privileges = true;
    CHECK(run_in_sandbox(spec).output == "1\n");
    for (const char* script :
         {"mount -t tmpfs none /tmp", "unshare -m true", "umount /dev/shm", "chroot / mount -t proc x /tmp",
          "setarch linux64 -R true", "nsenter -t 1 -m true", "hostname other"}) {
        INFO(script);
        const Ran ran = run_in_sandbox(shell(script));
        CHECK_FALSE(ran.status.ok());
    }
    // With the capability, the filter steps back.
    spec = shell("mount -t tmpfs none /tmp && echo mounted");
    spec.cap_add = {"SYS_ADMIN"};
    CHECK(run_in_sandbox(spec).output == "mounted\n");
}

TEST_CASE("the root has private devices, masked files and read-only kernel settings", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    CHECK(output_of("for d in null zero full random urandom tty; do test -c /dev/$d -a -w /dev/$d || echo "
                    "bad $d; done; "
                    "echo x > /dev/null; head -c 3 /dev/zero | wc -c; test -e /dev/ptmx || echo no ptmx; "
                    "ls /dev | sort | tr '\\n' ' '") ==
          "3\ncore fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ");
    CHECK(output_of("cat /proc/kcore | wc -c; cat /proc/keys /proc/timer_list 2>/dev/null | wc -c; ls "
                    "/sys/firmware | wc -l; ls -A /proc/scsi 2>/dev/null | wc -l") == "0\n0\n0\n0\n");
    CHECK(output_of("echo 1 > /proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger; touch /sys/x; "
                    "echo ok; exit 0") == "ok\n");
    CHECK_FALSE(run_in_sandbox(shell("echo 1 > /proc/sys/kernel/sysrq")).status.ok());
    CHECK_FALSE(run_in_sandbox(shell("echo h > /proc/sysrq-trigger")).status.ok());
    CHECK_FALSE(run_in_sandbox(shell("mkdir /sys/fs/x")).status.ok());
    CHECK(output_of("echo x > /dev/shm/x && cat /dev/shm/x && echo y > /dev/stderr && stat -c %a /dev/shm") ==
          "x\n1777\n");
}

TEST_CASE("nothing of the host can be reached", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    CHECK(output_of("ls / | sort | tr '\\n' ' '; ls /.. | wc -l") ==
          "bin dev etc home proc root sys tmp 8\n");
    CHECK(
        output_of("grep -c . /proc/self/mountinfo > /dev/null; grep ' / / ' /proc/self/mountinfo | wc -l") ==
        "1\n");
    CHECK(output_of("ls /proc/self/fd | wc -l") == "4\n");
    // Process 1 is a copy of us: its memory and program file are not the container's business.
    CHECK_FALSE(run_in_sandbox(shell("readlink /proc/1/exe")).status.ok());
    CHECK_FALSE(run_in_sandbox(shell("cat /proc/1/environ")).status.ok());
    CHECK_FALSE(run_in_sandbox(shell("readlink /proc/1/fd/3 /proc/1/fd/4 /proc/1/cwd")).status.ok());
    // It may be killed by nobody inside.
    CHECK(output_of("kill -9 1; echo alive") == "alive\n");
}

TEST_CASE("mount points that lead out of the root through links stay inside", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    const TempDir host;
    UniqueFd root = busybox_root();
    ::symlinkat("../../../../../run/systemd/resolve/stub.conf", root.get(), "etc/resolv.conf");
    ::symlinkat(host.path().c_str(), root.get(), "trap");
    ContainerSpec spec = shell(
        "readlink /etc/resolv.conf; test -f /run/systemd/resolve/stub.conf && echo made; "
        "grep -c /trap/deep /proc/self/mountinfo; cat /trap/deep/file");
    spec.files = {{"/trap/deep/file", "hello\n"}};
    const Ran ran = run_in_sandbox(spec, {}, std::move(root));
    CHECK(ran.output == "../../../../../run/systemd/resolve/stub.conf\nmade\n0\nhello\n");
    CHECK(std::filesystem::is_empty(host.path()));
}

TEST_CASE("networks: the host's, or only a loopback", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerSpec spec = shell(
        "ls /sys/class/net | tr '\\n' ' '; ip link show lo | grep -c LOOPBACK,UP; ping -c 1 127.0.0.1 "
        ">/dev/null && echo pong");
    spec.network = Network::none;
    CHECK(run_in_sandbox(spec).output == "lo 1\npong\n");
    CHECK(output_of("readlink /proc/self/ns/net") ==
          std::filesystem::read_symlink("/proc/self/ns/net").string() + "\n");
}

TEST_CASE("bind mounts, tmpfs and a read-only root", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    const TempDir host;
    write_file_durably(host.path() / "file", "from host\n");
    ContainerSpec spec = shell("cat /data/file; echo back > /data/new; echo no > /ro/new; cat /one");
    spec.mounts = {
        {host.path(), "/data", false}, {host.path(), "/ro", true}, {host.path() / "file", "/one", true}};
    const Ran ran = run_in_sandbox(spec);
    CHECK(ran.output == "from host\nfrom host\n");
    CHECK(ran.errors.find("Read-only file system") != std::string::npos);
    CHECK(read_file(host.path() / "new") == "back\n");

    spec = shell(
        "mkdir /new 2>&1; touch /scratch/x && stat -c %a /scratch; df -k /scratch | tail -1 | awk '{print "
        "$2}'; touch /dev/shm/y && echo shm");
    spec.read_only = true;
    spec.tmpfs = {"/scratch:size=64k,mode=1700"};
    CHECK(run_in_sandbox(spec).output ==
          "mkdir: can't create directory '/new': Read-only file system\n1700\n64\nshm\n");

    std::string text;
    spec = shell("true");
    spec.mounts = {{"/no/such/path", "/data", false}};
    CHECK(error_of(spec, &text) == Errc::not_found);
    CHECK(text.find("/no/such/path") != std::string::npos);
    spec.mounts.clear();
    spec.tmpfs = {"/x:colour=red"};
    CHECK(error_of(spec, &text) == Errc::invalid);
    CHECK(text.find("colour=red") != std::string::npos);
}

TEST_CASE("files of the spec are shown read-only", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerSpec spec;
    spec.args = {"/run/script"};
    spec.files = {{"/run/script", "#!/bin/sh\necho ran; echo x >> /run/script || echo refused\n"}};
    CHECK(run_in_sandbox(spec).output == "ran\nrefused\n");
}

TEST_CASE("a terminal is the container's own, with our size", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    ContainerSpec spec = shell(
        "tty; test -t 0 && test -t 1 && test -t 2 && echo yes; stty size; echo $TERM; ls -l /dev/console | "
        "cut -c1; read line; echo \"<$line>\"");
    spec.tty = true;
    UniqueFd master;
    // A terminal of ours, to take the size from.
    const UniqueFd ours(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(::grantpt(ours.get()) == 0);
    REQUIRE(::unlockpt(ours.get()) == 0);
    const winsize size{40, 100, 0, 0};
    REQUIRE(::ioctl(ours.get(), TIOCSWINSZ, &size) == 0);
    auto sandbox = Sandbox::start(busybox_root(), spec, "x",
                                  {ours.get(), -1, -1, [&](UniqueFd fd) { master = std::move(fd); }});
    REQUIRE(master);
    const UniqueFd out = memory_file();
    int fds[2];
    REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
    const UniqueFd input_read(fds[0]);
    const UniqueFd input_write(fds[1]);
    write_full(input_write.get(), as_bytes("hello\n"));
    relay_terminal(std::move(master), input_read.get(), out.get());
    CHECK(sandbox.wait().ok());
    const std::string text = content_of(out);
    INFO(text);
    CHECK(text.find("/dev/pts/0\r\n") != std::string::npos);
    CHECK(text.find("yes\r\n40 100\r\nxterm\r\nc\r\n") != std::string::npos);
    CHECK(text.find("<hello>\r\n") != std::string::npos);
}

TEST_CASE("twenty sandboxes run at once", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    const UniqueFd null = open_file("/dev/null", O_RDWR);
    std::vector<Sandbox> all;
    for (int i = 0; i < 20; ++i) {
        all.push_back(Sandbox::start(
            busybox_root(), shell("sleep 0." + std::to_string(i % 3) + "; exit " + std::to_string(i)), "x",
            {null.get(), null.get(), null.get(), {}}));
    }
    for (int i = 0; i < 20; ++i) CHECK(all[static_cast<std::size_t>(i)].wait().code == i);
}

TEST_CASE("threads may start sandboxes at the same time", "[overlay][sandbox]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    std::atomic<int> sum{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&sum] {
            const UniqueFd null = open_file("/dev/null", O_RDWR);
            for (int j = 0; j < 3; ++j) {
                auto sandbox = Sandbox::start(busybox_root(), shell("exit 5"), "x",
                                              {null.get(), null.get(), null.get(), {}});
                sum += sandbox.wait().code;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    CHECK(sum == 60);
}

TEST_CASE("another command joins a running sandbox with the same limits", "[overlay][exec]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_sandbox());
    const UniqueFd null = open_file("/dev/null", O_RDWR);
    ContainerSpec container = shell("echo inside > /tmp/mark; sleep 1000");
    container.network = Network::none;
    auto sandbox = Sandbox::start(busybox_root(), container, "x", {null.get(), null.get(), null.get(), {}});
    const auto exec = [&](const ExecSpec& spec) {
        const UniqueFd in = memory_file("input\n");
        const UniqueFd out = memory_file();
        Ran ran;
        ran.status =
            exec_in_sandbox(sandbox.init_pid(), container, spec, {in.get(), out.get(), out.get(), {}});
        ran.output = content_of(out);
        return ran;
    };
    CHECK(exec({{"sh", "-c", "exit 9"}, {}, "", "", false}).status.code == 9);
    CHECK(exec({{"sh", "-c", "kill -9 $$"}, {}, "", "", false}).status.shell_code() == 137);
    CHECK(exec({{"sh", "-c", "cat; ls /sys/class/net; hostname; cat /proc/1/comm; pwd; echo $A"},
                {"A=b"},
                "/tmp",
                "",
                false})
              .output == "input\nlo\nx\ninit\n/tmp\nb\n");
    CHECK(
        exec({{"sh", "-c",
               "id -u; grep CapEff /proc/self/status | cut -f2; grep ^Seccomp: /proc/self/status | cut -f2"},
              {},
              "",
              "amy",
              false})
            .output == "1000\n0000000000000000\n2\n");
    CHECK_FALSE(exec({{"mount", "-t", "tmpfs", "x", "/tmp"}, {}, "", "", false}).status.ok());
    for (const auto& [program, code] :
         {std::pair("nosuch", Errc::not_found), std::pair("/etc/passwd", Errc::denied)}) {
        try {
            exec({{program}, {}, "", "", false});
            FAIL("it ran");
        } catch (const Error& e) { CHECK(e.code() == code); }
    }
    UniqueFd master;
    const UniqueFd out = memory_file();
    ExecSpec spec{{"sh", "-c", "tty; exit 4"}, {}, "", "", true};
    const ExitStatus status = exec_in_sandbox(
        sandbox.init_pid(), container, spec,
        {null.get(), -1, -1, [&](UniqueFd fd) { relay_terminal(std::move(fd), -1, out.get()); }});
    CHECK(status.code == 4);
    CHECK(content_of(out).find("/dev/pts/0") != std::string::npos);
    sandbox.signal(SIGKILL);
    CHECK(sandbox.wait().shell_code() == 137);
    CHECK_THROWS_AS(exec({{"true"}, {}, "", "", false}), Error);
}

TEST_CASE("tmpfs options read as docker's", "[overlay][sandbox]") {
    const TmpfsMount plain = parse_tmpfs("/run");
    CHECK(plain.target == "/run");
    CHECK(plain.flags == std::vector<std::string>{"nosuid", "nodev", "noexec", "rw"});
    CHECK(plain.options == std::vector<std::pair<std::string, std::string>>{{"mode", "1777"}});
    CHECK(parse_tmpfs("/run:exec,ro,size=1m").flags ==
          std::vector<std::string>{"nosuid", "nodev", "exec", "ro"});
    CHECK_THROWS_WITH(parse_tmpfs("run"), Catch::Contains("absolute"));
}

TEST_CASE("the seccomp program is short, and made once", "[overlay][sandbox]") {
    const auto& filter = seccomp_filter(0xa00425fb);
    CHECK(filter.size() < 700);
    CHECK(&filter == &seccomp_filter(0xa00425fb));
    CHECK(&filter != &seccomp_filter(0));
}
