#include <sys/sysmacros.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "layers/base/process.h"
#include "layers/base/temp_dir.h"
#include "tests/support/archive.h"
#include "tests/support/requirements.h"

using namespace surcoat;
using namespace surcoat::test;

namespace {

std::string run(const std::vector<std::string>& argv) {
    const CommandResult result = run_command(argv);
    INFO(argv[0] << ": " << result.error_output);
    REQUIRE(result.status.ok());
    return result.output;
}

/// A tree that has one of everything tar can say.
void make_tree(const std::string& at) {
    run({"python3", "-c", R"(
import os, sys
os.chdir(sys.argv[1])
os.umask(0o22)
def write(name, data, mode=0o644):
    with open(name, 'wb') as f: f.write(data)
    os.chmod(name, mode)
os.makedirs('d/e'); write('d/plain', b'plain'); write('d/empty', b'')
write('d/setuid', b'#!/bin/sh\n', 0o4755)
os.chown('d/setuid', 4000000000 if os.geteuid() == 0 else os.geteuid(), -1)
os.chown('d/setuid', 4000000000, 3000000) if os.geteuid() == 0 else None
os.chmod('d/setuid', 0o4755)
write('d/big', bytes(range(256)) * 5000)
os.link('d/plain', 'd/zz-hard'); os.symlink('../d/plain', 'd/link'); os.symlink('x' * 150, 'd/long-link')
long = 'd/' + '/'.join(['l' * 60] * 3); os.makedirs(long); write(long + '/' + 'n' * 200, b'deep')
write(b'd/\xff\xfe not utf8', b'1'); write('d/h\u00e9llo', b'2'); write('d/new\nline', b'3')
os.mkfifo('d/fifo')
if os.geteuid() == 0:
    import stat
    os.mknod('d/null', stat.S_IFCHR | 0o666, os.makedev(1, 3)); os.mknod('d/loop', stat.S_IFBLK | 0o660, os.makedev(7, 200))
with open('d/sparse', 'wb') as f:
    for i in range(40):
        f.seek(i * 65536 + 4096); f.write(b'%05d' % i * 900)
    f.truncate(3 << 20)
with open('d/hole', 'wb') as f: f.truncate(1 << 20)
os.utime('d/empty', ns=(0, 1700000000123456789)); os.utime('d/plain', ns=(0, -1500000000))
try: os.setxattr('d/plain', 'user.test', b'\x00\xff=\n')
except OSError: pass
os.mkdir('d/sticky'); os.chmod('d/sticky', 0o1777)
)",
         at});
}

/// What the archive says must be what lies in the tree, as far as `format` can say it.
void check_against_tree(const TakenIn& taken, const std::string& root, bool whole_seconds) {
    std::size_t compared = 0;
    for (std::size_t i = 0; i < taken.members.size(); ++i) {
        const TarMember& member = taken.members[i];
        const std::string path = normalise_path(member.path);
        INFO(printable(path));
        const auto st = lstat_path(root + "/" + path);
        REQUIRE(st);
        ++compared;
        if (member.is_hardlink) {
            const auto target = lstat_path(root + "/" + normalise_path(member.link_name));
            REQUIRE(target);
            CHECK(target->st_ino == st->st_ino);
            continue;
        }
        CHECK(member.inode.uid == st->st_uid);
        CHECK(member.inode.gid == st->st_gid);
        if (st->st_mtim.tv_sec >= 0 || !whole_seconds)
            CHECK(member.inode.mtime.seconds == st->st_mtim.tv_sec);
        if (!whole_seconds)
            CHECK(member.inode.mtime.nanoseconds == static_cast<std::uint32_t>(st->st_mtim.tv_nsec));
        const FileType type = S_ISREG(st->st_mode)   ? FileType::regular
                              : S_ISDIR(st->st_mode) ? FileType::directory
                              : S_ISLNK(st->st_mode) ? FileType::symlink
                              : S_ISCHR(st->st_mode) ? FileType::char_device
                              : S_ISBLK(st->st_mode) ? FileType::block_device
                                                     : FileType::fifo;
        CHECK(to_string(member.inode.type) == to_string(type));
        if (type != FileType::symlink) CHECK(member.inode.mode == (st->st_mode & 07777));
        if (type == FileType::regular) {
            CHECK(member.inode.size == static_cast<std::uint64_t>(st->st_size));
            CHECK((taken.contents[i] == read_file(root + "/" + path)));
        }
        if (type == FileType::symlink)
            CHECK(member.inode.link_target == std::filesystem::read_symlink(root + "/" + path).string());
        if (type == FileType::char_device || type == FileType::block_device) {
            CHECK(member.inode.device_major == major(st->st_rdev));
            CHECK(member.inode.device_minor == minor(st->st_rdev));
        }
    }
    CHECK(compared >= 10);
}

}  // namespace

TEST_CASE("what GNU tar writes in any format is read as it lies on disk, and made again",
          "[layers][tar][oracle]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("python3"));
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("tar"));
    const TempDir directory;
    const std::string root = directory.path() / "tree";
    std::filesystem::create_directory(root);
    make_tree(root);
    struct Format {
        std::vector<std::string> options;
        bool whole_seconds;
        std::size_t sparse;
    };
    const Format formats[] = {
        {{"--format=gnu"}, true, 0},
        {{"--format=gnu", "--sparse"}, true, 2},
        {{"--format=oldgnu", "--sparse"}, true, 2},
        {{"--format=posix", "--xattrs"}, false, 0},
        {{"--format=posix", "--sparse", "--sparse-version=0.0"}, false, 2},
        {{"--format=posix", "--sparse", "--sparse-version=0.1"}, false, 2},
        {{"--format=posix", "--sparse", "--sparse-version=1.0"}, false, 2},
        {{"--format=ustar", "--exclude=d/l*", "--exclude=d/setuid", "--exclude=d/plain",
          "--exclude=d/zz-hard"},
         true,
         0},
        {{"--format=v7", "--exclude=d/l*", "--exclude=d/setuid", "--exclude=d/null", "--exclude=d/fifo",
          "--exclude=d/plain", "--exclude=d/zz-hard"},
         true,
         0},
    };
    for (const Format& format : formats) {
        const std::string out = directory.path() / "out.tar";
        std::vector<std::string> command = {"tar", "--create", "--file=" + out, "--sort=name",
                                            "--directory=" + root};
        command.insert(command.end(), format.options.begin(), format.options.end());
        command.emplace_back("d");
        INFO(format.options[0] << " " << format.options.back());
        run(command);
        const std::string archive = read_file(out);
        const TakenIn taken = take_in(archive);
        check_against_tree(taken, root, format.whole_seconds);
        CHECK((made_again(taken) == archive));
        std::size_t sparse = 0;
        for (const TarMember& member : taken.members)
            sparse += member.content_bytes < member.inode.size ? 1 : 0;
        CHECK(sparse == format.sparse);
    }
}

TEST_CASE("what Python's tarfile writes is read as it lies on disk, and made again",
          "[layers][tar][oracle]") {
    SURCOAT_REQUIRE_OR_SKIP(cannot_find("python3"));
    const TempDir directory;
    const std::string root = directory.path() / "tree";
    std::filesystem::create_directory(root);
    make_tree(root);
    for (const std::string format : {"GNU_FORMAT", "PAX_FORMAT"}) {
        INFO(format);
        const std::string out = directory.path() / "out.tar";
        run({"python3", "-c",
             "import tarfile, os, sys\nos.chdir(sys.argv[1])\nwith tarfile.open(sys.argv[2], 'w', "
             "format=tarfile." +
                 format + ") as t: t.add('d')\n",
             root, out});
        const std::string archive = read_file(out);
        const TakenIn taken = take_in(archive);
        // Python's times are floats: nanoseconds are not exact, and its GNU form floors.
        for (std::size_t i = 0; i < taken.members.size(); ++i) {
            if (taken.members[i].inode.type == FileType::regular && !taken.members[i].is_hardlink) {
                CHECK((taken.contents[i] == read_file(root + "/" + normalise_path(taken.members[i].path))));
            }
        }
        CHECK(taken.members.size() > 20);
        CHECK((made_again(taken) == archive));
    }
}
