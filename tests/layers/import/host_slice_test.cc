// Host slices: what is collected is enough to run, and nothing else.
#include <elf.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <set>

#include "layers/base/process.h"
#include "layers/base/temp_dir.h"
#include "layers/import/elf.h"
#include "layers/import/host_libraries.h"
#include "layers/import/host_slice.h"
#include "layers/store/fsck.h"
#include "tests/support/mount.h"
#include "tests/support/requirements.h"
#include "tests/support/tree.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

std::set<std::string> paths(const HostSlice& slice) {
    std::set<std::string> all;
    for (const HostFile& file : slice.files) all.insert(file.entry.path);
    return all;
}

const HostFile* find(const HostSlice& slice, const std::string& path) {
    for (const HostFile& file : slice.files) {
        if (file.entry.path == path) return &file;
    }
    return nullptr;
}

/// The layer's tree as real files, as a chroot needs it.
void materialise(Store& store, const DiffId& id, const std::filesystem::path& root) {
    const std::vector<DiffId> chain{id};
    const auto tree = store.tree(chain);
    make_directories(root);
    ::chmod(root.c_str(), tree->root().inode->mode);
    tree->walk([&](const std::string& path, const Tree::Node& node) {
        const auto at = root / path;
        const Inode& inode = *node.inode;
        if (inode.type == FileType::directory) {
            std::filesystem::create_directory(at);
            ::chmod(at.c_str(), inode.mode);
        } else if (inode.type == FileType::symlink) {
            if (::symlink(inode.link_target.c_str(), at.c_str()) != 0) throw_errno("symlink");
        } else {
            UniqueFd to = open_file(at, O_WRONLY | O_CREAT, 0600);
            if (inode.object) copy_contents(store.open_object(*inode.object).get(), to.get(), inode.size);
            ::fchmod(to.get(), inode.mode);
            to.close();
        }
    });
}

/// Runs a program inside a root as a user and returns its output and "exit N".
std::string run_in(const std::filesystem::path& root, uid_t uid, const std::vector<std::string>& argv) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    UniqueFd reader(ends[0]), writer(ends[1]);
    std::vector<char*> args;
    for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
    args.push_back(nullptr);
    char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
    char* environment[] = {path, nullptr};
    const pid_t child = ::fork();
    if (child == 0) {
        ::dup2(writer.get(), 1);
        ::dup2(writer.get(), 2);
        const bool ready = ::chroot(root.c_str()) == 0 && ::chdir("/") == 0 && ::setgroups(0, nullptr) == 0 &&
                           ::setgid(uid) == 0 && ::setuid(uid) == 0;
        if (ready) ::execve(args[0], args.data(), environment);
        ::_exit(126);
    }
    writer.reset();
    const std::string output = read_file(reader.get());
    return output + fmt::format("exit {}", wait_for(child).shell_code());
}

void write_program(const std::filesystem::path& path, const std::string& text, mode_t mode = 0755) {
    make_directories(path.parent_path());
    write_file_durably(path, text, mode);
    ::chmod(path.c_str(), mode);
}

Error refusal(const std::vector<std::string>& programs, const HostSliceOptions& options = {}) {
    try {
        collect_host_slice(programs, options);
    } catch (const Error& e) { return e; }
    FAIL("accepted");
    throw std::logic_error("unreachable");
}

}  // namespace

TEST_CASE("sh, coreutils and python3 of this host run in a root of their own", "[host_slice]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("python3"));
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("dpkg"));
    TempDir scratch;
    Store store(StoreOptions{.root = scratch.path() / "store"});
    const auto begin = std::chrono::steady_clock::now();
    const HostSlice slice = collect_host_slice({"sh", "coreutils", "python3"});
    Transaction transaction(store, "test");
    const ImportedFiles imported = import_host_slice(transaction, slice);
    transaction.commit();
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
    for (const std::string& warning : slice.warnings) UNSCOPED_INFO(warning);
    INFO(slice.files.size() << " names, " << imported.content_bytes / 1000000 << " MB, " << took.count()
                            << " ms");
    CHECK(imported.content_bytes < 200'000'000);

    const auto root = scratch.path() / "root";
    materialise(store, imported.diff_id, root);
    for (const uid_t uid : {uid_t{0}, uid_t{65534}}) {
        INFO("uid " << uid);
        CHECK_THAT(run_in(root, uid, {"/bin/sh", "-c", "ls / && cat /etc/passwd && echo $(id -u)"}),
                   Catch::Contains("usr\n") && Catch::Contains("tmp\n") &&
                       Catch::Contains("nobody:x:65534") && Catch::Contains(fmt::format("{}\nexit 0", uid)));
        CHECK(run_in(root, uid,
                     {"/usr/bin/env", "python3", "-c",
                      "import http.server, json, sqlite3, ssl, hashlib, threading, ctypes, lzma, bz2, zlib, "
                      "decimal, asyncio, urllib.request, email, uuid, socketserver, subprocess, tempfile\n"
                      "t = threading.Thread(target=lambda: None); t.start(); t.join()\n"
                      "with tempfile.TemporaryFile() as f: f.write(b'x')\n"
                      "print(json.dumps(subprocess.run(['sh', '-c', 'echo hi'], capture_output=True, "
                      "text=True).stdout))"}) == "\"hi\\n\"\nexit 0");
        CHECK(run_in(root, uid,
                     {"/bin/sh", "-c",
                      "echo b a | tr ' ' '\\n' | sort | head -n 1; printf x | sha256sum | cut -c 1-8; stat "
                      "-c %a /tmp"}) == "a\n2d711642\n1777\nexit 0");
    }
    // Nobody's documentation, caches or secrets.
    for (const std::string& path : paths(slice)) {
        INFO(path);
        CHECK(path.find("__pycache__") == std::string::npos);
        CHECK(path.find("usr/share/doc") == std::string::npos);
        CHECK(path.find("etc/shadow") == std::string::npos);
        CHECK(path.find("dist-packages/") == std::string::npos);
    }
    for (const HostFile& file : slice.files) {
        CHECK(file.entry.inode.uid == 0);
        CHECK(file.entry.inode.gid == 0);
    }
    for (const Finding& finding : check_store(store, {.deep = false, .progress = nullptr}))
        FAIL_CHECK(finding.what << ": " << finding.problem);
}

TEST_CASE("the same host gives the same slice, in writing order", "[host_slice]") {
    const HostSlice one = collect_host_slice({"sh"});
    const HostSlice two = collect_host_slice({"sh"});
    REQUIRE(one.files.size() == two.files.size());
    for (std::size_t i = 0; i < one.files.size(); ++i) {
        CHECK(one.files[i].entry == two.files[i].entry);
        if (i > 0) CHECK(one.files[i - 1].entry.path < one.files[i].entry.path);
    }
    CHECK(one.files[0].entry.path.empty());
    Tree tree;
    std::vector<Entry> entries;
    for (const HostFile& file : one.files) entries.push_back(file.entry);
    tree.apply(entries);  // parents are there, nothing is there twice
    const auto shell = tree.resolve("bin/sh", true);
    REQUIRE(shell);
    REQUIRE(shell->node != nullptr);
    CHECK(shell->node->inode->type == FileType::regular);
    CHECK(one.programs.size() == 1);
}

TEST_CASE("an unknown program is not found, and the nearest one is named", "[host_slice]") {
    TempDir scratch;
    write_program(scratch.path() / "usr/bin/serve", "#!/usr/bin/serve\n");
    write_program(scratch.path() / "usr/bin/data", "not executable", 0644);
    HostSliceOptions options;
    options.root = scratch.path().string();
    options.search_path = "";
    const Error e = refusal({"srve"}, options);
    CHECK(e.code() == Errc::not_found);
    CHECK_THAT(e.what(), Catch::Contains("'srve'") && Catch::Contains("did you mean 'serve'?"));
    CHECK_FALSE(e.hint().empty());
    CHECK(refusal({"data"}, options).code() == Errc::not_found);
    CHECK(refusal({"/usr/bin/none"}, options).code() == Errc::not_found);
    CHECK(refusal({"bin/serve"}, options).code() == Errc::not_found);
    CHECK(refusal({""}, options).code() == Errc::invalid);
    CHECK(refusal({}, options).code() == Errc::invalid);
}

TEST_CASE("links, interpreters and packages of another root are followed inside it", "[host_slice]") {
    TempDir scratch;
    const auto root = scratch.path();
    make_directories(root / "usr/bin");
    REQUIRE(::symlink("usr/bin", (root / "bin").c_str()) == 0);
    make_directories(root / "etc/alternatives");
    write_program(root / "usr/bin/real-shell",
                  "\x7f"
                  "not ELF");
    REQUIRE(::symlink("/etc/alternatives/shell", (root / "usr/bin/shell").c_str()) == 0);
    REQUIRE(::symlink("/usr/bin/../bin/real-shell", (root / "etc/alternatives/shell").c_str()) == 0);
    write_program(root / "usr/bin/script", "#! /bin/shell -e\nexit\n");
    write_program(root / "usr/bin/env", "plain");
    write_program(root / "usr/local/bin/tool", "#!/usr/bin/env -S A=1 script\n");
    write_program(root / "usr/bin/orphan", "#!/usr/bin/nothing\n");
    write_program(root / "usr/share/tools/data", "d", 0644);
    write_program(root / "usr/share/tools/private", "s", 0600);
    write_program(root / "usr/share/doc/tools/README", "r", 0644);
    write_program(
        root / "var/lib/dpkg/info/tools:amd64.list",
        "/.\n/usr\n/bin\n/bin/script\n/usr/share/tools\n/usr/share/tools/data\n/usr/share/tools/private\n"
        "/usr/share/doc/tools/README\n/usr/share/tools/absent\n",
        0644);
    write_program(root / "var/lib/dpkg/info/none.list", "/.\n/usr\n", 0644);
    HostSliceOptions options;
    options.root = root.string();
    options.search_path = "relative:/opt/bin";

    const HostSlice slice = collect_host_slice({"tool"}, options);
    const auto found = paths(slice);
    for (const char* path :
         {"usr/local/bin/tool", "usr/bin/env", "usr/bin/script", "usr/bin/shell", "usr/bin/real-shell",
          "etc/alternatives/shell", "bin", "usr/share/tools/data", "tmp", "proc", "etc/passwd"}) {
        INFO(path);
        CHECK(found.count(path) == 1);
    }
    for (const char* path : {"usr/bin/orphan", "usr/share/tools/private", "usr/share/doc",
                             "usr/share/doc/tools/README", "var/lib"}) {
        INFO(path);
        CHECK(found.count(path) == 0);
    }
    CHECK(find(slice, "bin")->entry.inode.link_target == "usr/bin");
    CHECK(find(slice, "usr/bin/shell")->entry.inode.link_target == "/etc/alternatives/shell");
    CHECK(find(slice, "usr/bin/real-shell")->source == "/usr/bin/real-shell");
    REQUIRE(slice.warnings.size() == 1);
    CHECK_THAT(slice.warnings[0], Catch::Contains("private") && Catch::Contains("0600"));

    CHECK(collect_host_slice({"tools"}, options).programs == std::vector<std::string>{"/bin/script"});
    CHECK_THAT(refusal({"none"}, options).what(), Catch::Contains("has no programs"));
    const Error missing = refusal({"orphan"}, options);
    CHECK(missing.code() == Errc::not_found);
    CHECK_THAT(missing.what(), Catch::Contains("'orphan'") && Catch::Contains("'/usr/bin/nothing'"));
}

TEST_CASE("set-id bits of others are dropped, and a changed file is a conflict", "[host_slice]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_mount());
    TempDir scratch;
    const auto root = scratch.path() / "root";
    write_program(root / "usr/bin/su", "root's");
    write_program(root / "usr/bin/games", "somebody's");
    REQUIRE(::chmod((root / "usr/bin/su").c_str(), 04755) == 0);
    REQUIRE(::chown((root / "usr/bin/games").c_str(), 5, 60) == 0);
    REQUIRE(::chmod((root / "usr/bin/games").c_str(), 06755) == 0);
    HostSliceOptions options;
    options.root = root.string();
    const HostSlice slice = collect_host_slice({"su", "games"}, options);
    CHECK(find(slice, "usr/bin/su")->entry.inode.mode == 04755);
    CHECK(find(slice, "usr/bin/games")->entry.inode.mode == 0755);
    write_program(root / "usr/bin/su", "another length");
    Store store(StoreOptions{.root = scratch.path() / "store"});
    Transaction transaction(store, "test");
    try {
        import_host_slice(transaction, slice);
        FAIL("accepted");
    } catch (const Error& e) {
        CHECK(e.code() == Errc::conflict);
        CHECK_THAT(e.what(), Catch::Contains("/usr/bin/su"));
    }
}

TEST_CASE("a damaged ELF file is corrupt and never read outside", "[host_slice][elf]") {
    const std::string whole = read_file("/bin/sh");
    const auto read = [](const std::string& bytes) {
        TempDir scratch;
        write_file_durably(scratch.path() / "f", bytes);
        return read_elf(open_file(scratch.path() / "f", O_RDONLY).get());
    };
    const auto elf = read(whole);
    REQUIRE(elf);
    CHECK_FALSE(elf->interpreter.empty());
    CHECK_FALSE(elf->needed.empty());
    CHECK_FALSE(read("#!/bin/sh\n"));
    CHECK_FALSE(read(""));
    TempDir scratch;
    const auto path = scratch.path() / "f";
    for (std::size_t size = 17; size < 4096; size += 97) {
        write_file_durably(path, whole.substr(0, size));
        CHECK_THROWS_AS(read_elf(open_file(path, O_RDONLY).get()), Error);
    }
    const auto seed = test_seed();
    INFO("SURCOAT_TEST_SEED=" << seed);
    Dice dice(seed);
    const UniqueFd fd = open_file(path, O_RDWR | O_CREAT | O_TRUNC);
    write_full(fd.get(), as_bytes(whole));
    Elf64_Ehdr header;
    std::memcpy(&header, whole.data(), sizeof header);
    for (int i = 0; i < 2000; ++i) {
        // The headers, where a wrong number leads furthest.
        const std::size_t at =
            16 + dice.below(header.e_phoff + std::size_t{header.e_phnum} * header.e_phentsize - 16);
        pwrite_full(fd.get(), as_bytes(std::string(1, static_cast<char>(dice.below(256)))), at);
        try {
            read_elf(fd.get());
        } catch (const Error& e) { CHECK(e.code() == Errc::corrupt); }
        pwrite_full(fd.get(), as_bytes(whole.substr(at, 1)), at);
    }
}

TEST_CASE("the linker's cache is read, and a damaged one ignored", "[host_slice][elf]") {
    const auto real = lstat_path("/etc/ld.so.cache") ? read_file("/etc/ld.so.cache") : std::string();
    if (!real.empty()) {
        const auto entries = parse_linker_cache(real);
        CHECK_FALSE(entries.empty());
        for (const auto& [name, path] : entries) {
            CHECK(path.front() == '/');
            CHECK_FALSE(name.empty());
        }
        for (std::size_t size = 0; size < 2000; size += 13)
            parse_linker_cache(std::string_view(real).substr(0, size));
    }
    CHECK(parse_linker_cache("").empty());
    CHECK(parse_linker_cache("glibc-ld.so.cache1.1").empty());
    CHECK(parse_linker_cache("glibc-ld.so.cache1.1" + std::string(40, '\xff')).empty());
    CHECK(HostLibraries::expand("$ORIGIN/../${LIB}/x", "/opt/app/bin", 64) == "/opt/app/bin/../lib64/x");
}
