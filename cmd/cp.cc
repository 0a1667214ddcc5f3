#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <filesystem>

#include "cmd/output.h"
#include "cmd/place.h"
#include "cmd/verb.h"
#include "cmd/wire.h"
#include "layers/base/file.h"
#include "layers/base/root_dir.h"
#include "overlay/union_view.h"

namespace surcoat::cmd {
namespace {

using overlay::UnionView;

std::string last_name(const std::string& path) {
    std::string clean = path;
    while (clean.size() > 1 && clean.back() == '/') clean.pop_back();
    const std::size_t slash = clean.rfind('/');
    return slash == std::string::npos ? clean : clean.substr(slash + 1);
}

bool wants_contents(const std::string& path) { return path.ends_with("/.") || path == "."; }

void set_host_times(int directory, const std::string& name, const Timestamp& time) {
    const timespec times[2] = {{0, UTIME_OMIT}, {time.seconds, time.nanoseconds}};
    ::utimensat(directory, name.c_str(), times, AT_SYMLINK_NOFOLLOW);
}

/// Out of a view, into a host directory held open: the container may change its names while we copy, so
/// nothing on the host is reached by a path that it could choose.
void copy_out(UnionView& view, const std::string& from, const Inode& inode, int directory, const std::string& name, bool keep_owner) {
    switch (inode.type) {
        case FileType::directory: {
            if (::mkdirat(directory, name.c_str(), 0700) != 0 && errno != EEXIST) throw_errno(fmt::format("create directory '{}'", name));
            const UniqueFd child = open_file_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
            for (const auto& entry : view.list(from)) {
                const std::string path = from + "/" + entry.name;
                if (const auto below = view.stat(path, false)) copy_out(view, path, *below, child.get(), entry.name, keep_owner);
            }
            if (::fchmod(child.get(), inode.mode) != 0) throw_errno(fmt::format("set the mode of '{}'", name));
            break;
        }
        case FileType::symlink:
            if (::symlinkat(inode.link_target.c_str(), directory, name.c_str()) != 0) {
                if (errno != EEXIST || ::unlinkat(directory, name.c_str(), 0) != 0 || ::symlinkat(inode.link_target.c_str(), directory, name.c_str()) != 0) {
                    throw_errno(fmt::format("create symlink '{}'", name));
                }
            }
            break;
        case FileType::regular: {
            const UniqueFd in = view.open_read(from);
            const UniqueFd out = open_file_at(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
            copy_contents(in.get(), out.get(), static_cast<std::uint64_t>(stat_fd(in.get()).st_size));
            // The owner first: changing it clears setuid and setgid.
            if (keep_owner && ::fchown(out.get(), inode.uid, inode.gid) != 0) throw_errno(fmt::format("set the owner of '{}'", name));
            if (::fchmod(out.get(), inode.mode) != 0) throw_errno(fmt::format("set the mode of '{}'", name));
            break;
        }
        case FileType::fifo:
            if (::mkfifoat(directory, name.c_str(), inode.mode) != 0) throw_errno(fmt::format("create fifo '{}'", name));
            break;
        default:
            say(fmt::format("warning: device '{}' is not copied to this host", printable(from)));
            return;
    }
    if (keep_owner && inode.type != FileType::regular && ::fchownat(directory, name.c_str(), inode.uid, inode.gid, AT_SYMLINK_NOFOLLOW) != 0) throw_errno(fmt::format("set the owner of '{}'", name));
    set_host_times(directory, name, inode.mtime);
}

void copy_in(int directory, const std::string& name, UnionView& view, const std::string& to, bool keep_owner) {
    struct stat st {};
    if (::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) throw_errno(fmt::format("look at '{}'", name));
    const auto there = view.stat(to, false);
    const auto mode = static_cast<std::uint16_t>(st.st_mode & 07777);
    if (S_ISDIR(st.st_mode)) {
        if (there && there->type != FileType::directory) throw Error(Errc::conflict, fmt::format("cannot copy directory '{}' over '{}', which is a {}", name, to, to_string(there->type)));
        if (!there) view.make_directory(to, mode);
        const UniqueFd child = open_file_at(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        for (const std::string& below : list_directory(child.get())) copy_in(child.get(), below, view, to + "/" + below, keep_owner);
    } else {
        if (there && there->type == FileType::directory) throw Error(Errc::conflict, fmt::format("cannot copy '{}' over the directory '{}'", name, to));
        if (there && (there->type != FileType::regular || !S_ISREG(st.st_mode))) view.remove(to, false);
        if (S_ISREG(st.st_mode)) {
            const UniqueFd in = open_file_at(directory, name, O_RDONLY | O_NOFOLLOW);
            UniqueFd out = view.open_write(to, mode, true);
            copy_contents(in.get(), out.get(), static_cast<std::uint64_t>(st.st_size));
            out.close();
            view.set_mode(to, mode);
        } else if (S_ISLNK(st.st_mode)) {
            view.make_symlink(std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}/{}", directory, name)), to);
        } else if (S_ISFIFO(st.st_mode)) {
            Inode inode;
            inode.type = FileType::fifo;
            inode.mode = mode;
            view.make_node(to, inode);
        } else {
            say(fmt::format("warning: '{}' is a socket or a device and is not copied", printable(name)));
            return;
        }
    }
    if (keep_owner) {
        view.set_owner(to, st.st_uid, st.st_gid);
        if (S_ISREG(st.st_mode)) view.set_mode(to, mode);  // the kernel clears setuid and setgid on chown
    }
    view.set_mtime(to, {st.st_mtim.tv_sec, static_cast<std::uint32_t>(st.st_mtim.tv_nsec)});
}

void out_of_container(Program& program, const Place& from, const std::string& to, bool keep_owner, bool follow) {
    const auto view = program.view_of(*from.name, true);
    auto inode = view->stat(from.path, follow || from.path.ends_with("/"));
    if (!inode) throw Error(Errc::not_found, fmt::format("'{}' has no '{}'", *from.name, printable(from.path)));
    const bool into = std::filesystem::is_directory(to);
    if (to.ends_with("/") && !into) throw Error(Errc::not_found, fmt::format("there is no directory '{}'", to));
    // Of "/" and "/etc/.." the contents are meant: they have no name that a copy could get.
    const std::string base = last_name(from.path);
    if (inode->type == FileType::directory && (wants_contents(from.path) || base.empty() || base == "/" || base == "..")) {
        make_directories(to);
        const UniqueFd directory = open_file(to, O_RDONLY | O_DIRECTORY);
        for (const auto& entry : view->list(from.path)) {
            const std::string path = from.path + "/" + entry.name;
            if (const auto below = view->stat(path, false)) copy_out(*view, path, *below, directory.get(), entry.name, keep_owner);
        }
        return;
    }
    const std::string name = into ? last_name(from.path) : last_name(to);
    const std::filesystem::path parent = into ? std::filesystem::path(to) : std::filesystem::path(to).has_parent_path() ? std::filesystem::path(to).parent_path() : ".";
    const UniqueFd directory = open_file(parent, O_RDONLY | O_DIRECTORY);
    copy_out(*view, from.path, *inode, directory.get(), name, keep_owner);
}

void into_container(Program& program, const std::string& from, const Place& to, bool keep_owner) {
    std::string host = from;
    const bool contents = wants_contents(host);
    while (host.size() > 1 && host.back() == '/') host.pop_back();
    if (!lstat_path(host)) throw Error(Errc::not_found, fmt::format("there is no '{}' on this host", from));
    const auto view = program.view_of(*to.name, false);
    const auto there = view->stat(to.path, true);
    const bool into = there && there->type == FileType::directory;
    if (contents) {
        if (!into) view->make_directory(to.path, 0755);
        const UniqueFd directory = open_file(host, O_RDONLY | O_DIRECTORY);
        for (const std::string& name : list_directory(directory.get())) copy_in(directory.get(), name, *view, to.path + "/" + name, keep_owner);
        return;
    }
    if (to.path.ends_with("/") && !into) throw Error(Errc::not_found, fmt::format("'{}' has no directory '{}'", *to.name, to.path));
    const std::string base = last_name(host);
    const std::filesystem::path whole = base == ".." || base == "." ? std::filesystem::canonical(host) : std::filesystem::absolute(host).lexically_normal();
    if (!whole.has_filename()) throw Error(Errc::invalid, "cp: the whole host is not copied into a container").hint("name a directory");
    const UniqueFd directory = open_file(whole.parent_path(), O_RDONLY | O_DIRECTORY);
    std::string target = to.path;
    if (into) target += "/" + whole.filename().string();
    copy_in(directory.get(), whole.filename(), *view, target, keep_owner);
}

}  // namespace

Verb cp_verb() {
    struct Args {
        std::string from;
        std::string to;
        bool archive = false;
        bool follow = false;
    };
    auto args = std::make_shared<Args>();
    Verb verb;
    verb.name = "cp";
    verb.group = "Run";
    verb.synopsis = "cp CONTAINER:/PATH HOST   or   cp HOST CONTAINER:/PATH";
    verb.summary = "copy files between a container (running or not) and this host";
    verb.examples = {{"surcoat cp web:/var/log/app.log .", "out of it; from an image, too"}, {"surcoat cp ./conf/. web:/etc/app", "the contents of a directory"}};
    verb.declare = [args](Options& options) {
        options.flag("-a,--archive", args->archive, "keep owners");
        options.flag("-L,--follow-link", args->follow, "follow a symlink named as the source");
        options.argument("FROM", args->from, "a path, or CONTAINER:/path");
        options.argument("TO", args->to, "a path, or CONTAINER:/path");
    };
    verb.run = [args](Program& program) {
        const Place from = parse_place(args->from);
        const Place to = parse_place(args->to);
        if (from.name && to.name) throw Error(Errc::invalid, "cp: one side must be this host").hint("copy out first, then in");
        if (!from.name && !to.name) throw Error(Errc::invalid, "cp: one side must be a container: NAME:/path");
        if (from.name) {
            out_of_container(program, from, args->to, args->archive, args->follow);
        } else {
            into_container(program, args->from, to, args->archive);
        }
        return 0;
    };
    verb.needs_mounts = true;
    return verb;
}

}  // namespace surcoat::cmd
