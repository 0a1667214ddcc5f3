#pragma once
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <optional>
#include <sstream>
#include <string>

#include "layers/base/file.h"
#include "layers/base/process.h"
#include "overlay/mount.h"
#include "overlay/sandbox.h"
#include "tests/support/requirements.h"

namespace surcoat::test {

/// Why no container can be run by these cases.
inline std::optional<std::string> cannot_sandbox() {
    if (auto why = cannot_mount()) return why;
    if (::access("/bin/busybox", X_OK) != 0) return "busybox-static is not installed";
    return std::nullopt;
}

inline void put_file(int root, const std::string& name, const std::string& text, mode_t mode = 0644) {
    const UniqueFd file = open_file_at(root, name, O_WRONLY | O_CREAT | O_TRUNC, mode);
    ::fchmod(file.get(), mode);
    write_full(file.get(), as_bytes(text));
}

/// Fills a directory with a small system made of one static program.
inline void fill_busybox_root(int root) {
    for (const char* name : {"bin", "etc", "tmp", "root", "home", "home/amy"}) ::mkdirat(root, name, 0755);
    ::fchmodat(root, "tmp", 01777, 0);
    {
        const UniqueFd from = open_file("/bin/busybox", O_RDONLY);
        const UniqueFd to = open_file_at(root, "bin/busybox", O_WRONLY | O_CREAT, 0755);
        copy_contents(from.get(), to.get(), static_cast<std::uint64_t>(stat_fd(from.get()).st_size));
    }
    std::istringstream applets(run_command({"/bin/busybox", "--list"}).output);
    for (std::string name; std::getline(applets, name);) {
        if (name != "busybox") ::symlinkat("busybox", root, ("bin/" + name).c_str());
    }
    put_file(root, "etc/passwd",
             "root:x:0:0:root:/root:/bin/sh\namy:x:1000:1001:Amy:/home/amy:/bin/sh\nodd "
             "line\nbob:x:1002:1003::/home/bob:\n");
    put_file(root, "etc/group", "root:x:0:\namy:x:1001:\nwheel:x:10:amy,bob\ngames:x:60:amy\n");
}

/// A detached root of its own.
inline UniqueFd busybox_root() {
    overlay::FsContext context("tmpfs");
    context.set_string("mode", "0755");
    UniqueFd root = context.mount();
    fill_busybox_root(root.get());
    return root;
}

inline UniqueFd memory_file(const std::string& content = {}) {
    UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
    write_full(fd.get(), as_bytes(content));
    ::lseek(fd.get(), 0, SEEK_SET);
    return fd;
}
inline std::string content_of(const UniqueFd& fd) {
    ::lseek(fd.get(), 0, SEEK_SET);
    return read_file(fd.get());
}

struct Ran {
    ExitStatus status;
    std::string output;
    std::string errors;
};

/// Runs to the end in a root of its own (or the one given), without a terminal.
inline Ran run_in_sandbox(const overlay::ContainerSpec& spec, const std::string& input = {},
                          UniqueFd root = {}) {
    const UniqueFd in = memory_file(input);
    const UniqueFd out = memory_file();
    const UniqueFd err = memory_file();
    auto sandbox = overlay::Sandbox::start(root ? std::move(root) : busybox_root(), spec, "0123456789abcdef",
                                           {in.get(), out.get(), err.get(), {}});
    Ran ran;
    ran.status = sandbox.wait();
    ran.output = content_of(out);
    ran.errors = content_of(err);
    return ran;
}

inline overlay::ContainerSpec shell(const std::string& script) {
    overlay::ContainerSpec spec;
    spec.args = {"sh", "-c", script};
    return spec;
}

}  // namespace surcoat::test
