#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <set>
#include <thread>

#include "layers/base/bounded_queue.h"
#include "layers/base/fault.h"
#include "layers/base/file.h"
#include "layers/base/file_lock.h"
#include "layers/base/hash.h"
#include "layers/base/json.h"
#include "layers/base/process.h"
#include "layers/base/root_dir.h"
#include "layers/base/suggest.h"
#include "layers/base/temp_dir.h"

using namespace surcoat;

TEST_CASE("an error tells its causes from the outside in, and its hint", "[base][error]") {
    try {
        doing("cannot build 'x'", [] { doing("step 2", []() -> void { throw Error(Errc::corrupt, "3 bytes, not 4").hint("try again"); }); });
        FAIL("nothing was thrown");
    } catch (const Error& e) {
        CHECK(std::string(e.what()) == "cannot build 'x'\n  because: step 2\n  because: 3 bytes, not 4");
        CHECK(e.code() == Errc::corrupt);
        CHECK(e.hint() == "try again");
    }
    CHECK(os_error("write", ENOSPC).code() == Errc::no_space);
    CHECK_FALSE(os_error("write", ENOSPC).hint().empty());
    CHECK(os_error("open", ENOENT).code() == Errc::not_found);
}

TEST_CASE("no path of an image leads out of its root", "[base][root_dir]") {
    const TempDir temporary;
    const auto root = temporary.path() / "root";
    make_directories(root / "dir");
    write_file_durably(temporary.path() / "secret", "outside");
    write_file_durably(root / "inside", "fine");
    std::filesystem::create_symlink("../../secret", root / "dir" / "up");
    std::filesystem::create_symlink("/inside", root / "absolute");
    std::filesystem::create_symlink("loop", root / "loop");
    const RootDir images(root.string());
    CHECK(images.read_file("/inside") == "fine");
    CHECK(images.read_file("absolute") == "fine");
    CHECK_FALSE(images.read_file("dir/up"));
    CHECK_FALSE(images.read_file("../secret"));
    CHECK_FALSE(images.read_file("dir/../../secret"));
    CHECK_THROWS_AS(images.read_file("loop"), Error);
    CHECK_THROWS_WITH(images.try_open_without_symlinks("absolute", O_RDONLY), Catch::Contains("symbolic link"));
}

TEST_CASE("a fifo at a well-known name does not hang the reader", "[base][root_dir]") {
    const TempDir temporary;
    REQUIRE(::mkfifo((temporary.path() / "passwd").c_str(), 0600) == 0);
    CHECK_FALSE(RootDir(temporary.path().string()).read_file("passwd"));
}

TEST_CASE("removing a tree follows no link and opens closed directories", "[base][file]") {
    const TempDir temporary;
    const auto keep = temporary.path() / "keep";
    make_directories(keep);
    write_file_durably(keep / "file", "x");
    const auto tree = temporary.path() / "tree";
    make_directories(tree / "a" / "b");
    std::filesystem::create_directory_symlink(keep, tree / "a" / "link");
    REQUIRE(::chmod((tree / "a").c_str(), 0) == 0);
    remove_tree(tree);
    CHECK_FALSE(lstat_path(tree));
    CHECK(read_file(keep / "file") == "x");
    remove_tree(tree);  // absent is fine
}

TEST_CASE("a copy keeps holes", "[base][file]") {
    const TempDir temporary;
    const UniqueFd from = open_file(temporary.path() / "from", O_RDWR | O_CREAT);
    pwrite_full(from.get(), as_bytes("end"), 64 << 20);
    const UniqueFd to = open_file(temporary.path() / "to", O_RDWR | O_CREAT);
    copy_contents(from.get(), to.get(), static_cast<std::uint64_t>(stat_fd(from.get()).st_size));
    CHECK(stat_fd(to.get()).st_size == stat_fd(from.get()).st_size);
    CHECK(stat_fd(to.get()).st_blocks * 512 < 1 << 20);
    std::string end(3, '\0');
    CHECK(pread_full(to.get(), std::as_writable_bytes(std::span(end)), 64 << 20) == 3);
    CHECK(end == "end");
}

TEST_CASE("documents that two parsers could read differently are refused", "[base][json]") {
    struct Case {
        const char* text;
        const char* says;
    };
    const Case cases[] = {
        {R"({"a": 1, "a": 2})", "twice"}, {"{\"a\": \"\xff\"}", "not valid JSON"}, {"[1] x", "not valid JSON"},
        {"\xEF\xBB\xBF{}", "byte order mark"}, {"", "not valid JSON"},
    };
    for (const Case& c : cases) {
        INFO(c.text);
        CHECK_THROWS_WITH(Json::parse(c.text, "the test"), Catch::Contains(c.says) && Catch::Contains("the test"));
    }
    CHECK_THROWS_WITH(Json::parse(std::string(200, '[') + std::string(200, ']'), "deep"), Catch::Contains("nested"));
    const Json json = Json::parse(R"({"z": [1, -2, 3.5, null, true], "a": {"s": "\u00e9\n"}})", "good");
    CHECK(json.dump() == "{\"z\":[1,-2,3.5,null,true],\"a\":{\"s\":\"\xC3\xA9\\n\"}}");
    CHECK(Json::parse(json.dump(2), "again") == json);
    CHECK_THROWS_WITH(json["z"].as_array()[1].as_size(), Catch::Contains("-2"));
    CHECK_THROWS_WITH(json["z"].as_string(), Catch::Contains("found an array"));
}

TEST_CASE("hashes are SHA-256's, whatever the pieces", "[base][hash]") {
    CHECK(to_hex(sha256(as_bytes("abc"))) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    Hasher hasher;
    hasher.update("a");
    Hasher copy = hasher;
    hasher.update("bc");
    CHECK(hasher.finish_hex() == to_hex(sha256(as_bytes("abc"))));
    CHECK(copy.finish_hex() == to_hex(sha256(as_bytes("a"))));
}

TEST_CASE("a lock's second taker is told who holds it", "[base][lock]") {
    const TempDir temporary;
    const auto file = temporary.path() / "lock";
    {
        const FileLock held = FileLock::acquire(file, FileLock::Mode::exclusive);
        CHECK_FALSE(FileLock::try_acquire(file, FileLock::Mode::shared));
        CHECK_THROWS_WITH(FileLock::acquire(file, FileLock::Mode::exclusive, std::chrono::milliseconds(1)),
                          Catch::Contains("process " + std::to_string(::getpid())));
    }
    const auto one = FileLock::try_acquire(file, FileLock::Mode::shared);
    CHECK(one);
    CHECK(FileLock::try_acquire(file, FileLock::Mode::shared));
}

TEST_CASE("a queue hands on what its writer failed with, after what it wrote", "[base][queue]") {
    BoundedQueue<int> queue(2);
    std::thread writer([&] {
        for (int i = 0; i < 100; ++i) queue.push(i);
        queue.close(std::make_exception_ptr(Error(Errc::io, "the disk is gone")));
    });
    int next = 0;
    std::string failure;
    try {
        while (const auto item = queue.pop()) next += *item == next ? 1 : 1000;
    } catch (const Error& e) {
        failure = e.message();
    }
    writer.join();
    CHECK(next == 100);
    CHECK(failure == "the disk is gone");
    BoundedQueue<int> unwanted(1);
    unwanted.abandon();
    CHECK_FALSE(unwanted.push(1));
}

TEST_CASE("names that are near are suggested, others not", "[base][suggest]") {
    const std::vector<std::string> known = {"images", "import", "inspect", "rm"};
    CHECK(nearest("imagse", known) == "images");
    CHECK(nearest("Images", known) == "images");
    CHECK_FALSE(nearest("volume", known));
    CHECK_FALSE(nearest("xy", known));
    CHECK(did_you_mean("inspct", known) == " (did you mean 'inspect'?)");
}

TEST_CASE("a process is known by more than its number", "[base][process]") {
    const ProcessIdentity self = ProcessIdentity::self();
    CHECK(self.alive());
    ProcessIdentity other = self;
    other.start_ticks += 1;
    CHECK_FALSE(other.alive());
    other = self;
    other.boot_id = "another boot";
    CHECK_FALSE(other.alive());
    CHECK(run_command({"sh", "-c", "cat; echo err >&2; exit 4"}, "in").output == "in");
    const CommandResult result = run_command({"sh", "-c", "kill -9 $$"});
    CHECK(result.status.signal == 9);
    CHECK(result.status.shell_code() == 137);
    CHECK_THROWS_WITH(run_command({"no-such-program-anywhere"}), Catch::Contains("no-such-program-anywhere"));
}

TEST_CASE("the list of fault points is the source's", "[base][fault]") {
    std::set<std::string> used;
    const std::regex call("fault_point\\(\"([a-z_.]+)\"\\)");
    for (const char* folder : {"layers", "overlay", "registry", "cmd"}) {
        for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
            if (file.path().extension() != ".cc") continue;
            std::ifstream stream(file.path());
            const std::string text((std::istreambuf_iterator<char>(stream)), {});
            for (auto it = std::sregex_iterator(text.begin(), text.end(), call); it != std::sregex_iterator(); ++it) used.insert((*it)[1]);
        }
    }
    REQUIRE(used.size() > 10);
    const auto& names = fault_point_names();
    CHECK(std::set<std::string>(names.begin(), names.end()) == used);
}
