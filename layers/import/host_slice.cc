#include "layers/import/host_slice.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <set>
#include <string_view>

#include "layers/base/error.h"
#include "layers/base/file.h"
#include "layers/base/suggest.h"
#include "layers/import/host_files.h"
#include "layers/import/host_libraries.h"
#include "layers/import/host_packages.h"

namespace surcoat {
namespace {

/// Whether something that is missing ends the job or is only told.
enum class Missing { fatal, told };

constexpr std::string_view kStandardPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr std::size_t kShebangBytes = 256;  // BINPRM_BUF_SIZE: what the kernel reads of a "#!" line

bool starts_with(std::string_view text, std::string_view start) {
    return text.substr(0, start.size()) == start;
}
bool ends_with(std::string_view text, std::string_view end) {
    return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}
std::string base_name(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}
std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::vector<std::string> split(std::string_view text, std::string_view separators) {
    std::vector<std::string> parts;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find_first_of(separators), text.size());
        if (end != 0) parts.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

bool is_program_path(std::string_view path) {
    const std::string directory = parent_of(std::string(path));
    return ends_with(directory, "/bin") || ends_with(directory, "/sbin") || ends_with(directory, "/games");
}

/// "python3.11" and its like, as a real file's name.
bool is_python(const std::string& name) {
    constexpr std::string_view kStart = "python3.";
    return starts_with(name, kStart) && name.size() > kStart.size() &&
           std::all_of(name.begin() + kStart.size(), name.end(),
                       [](unsigned char c) { return std::isdigit(c) != 0; });
}

/// Of a package's files: what no program opens in order to run.
bool is_needless(std::string_view path) {
    // clang-format off
    static constexpr std::string_view kPlaces[] = {
        "/usr/share/doc/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/",
        "/usr/share/lintian/", "/usr/share/bug/", "/usr/share/doc-base/", "/usr/share/menu/",
        "/usr/share/icons/", "/usr/share/pixmaps/", "/usr/share/metainfo/", "/usr/share/applications/",
        "/usr/share/bash-completion/", "/usr/share/zsh/", "/usr/share/fish/", "/usr/share/gnome/",
        "/usr/share/help/", "/usr/share/reportbug/", "/usr/share/gtk-doc/", "/usr/share/vim/",
        "/usr/include/", "/usr/lib/debug/", "/usr/lib/systemd/", "/lib/systemd/", "/usr/lib/pkgconfig/",
        "/usr/share/pkgconfig/", "/usr/src/", "/etc/init.d/", "/etc/cron", "/etc/logrotate.d/",
        "/etc/apparmor.d/", "/etc/X11/", "/etc/systemd/", "/etc/bash_completion.d/", "/etc/apt/", "/var/",
        "/boot/", "/dev/", "/run/"};
    // clang-format on
    for (const std::string_view place : kPlaces) {
        if (starts_with(path, place)) return true;
    }
    return ends_with(path, ".a") || ends_with(path, ".la") || ends_with(path, ".pc") ||
           ends_with(path, ".pyc");
}

class SliceCollector {
  public:
    explicit SliceCollector(const HostSliceOptions& options)
        : options_(options), root_(options.root), files_(root_), libraries_(root_), packages_(root_) {
        std::string_view more;
        if (options.search_path) {
            more = *options.search_path;
        } else if (const char* path = std::getenv("PATH")) {
            more = path;
        }
        directories_ = split(kStandardPath, ":");
        for (std::string& directory : split(more, ":")) {
            const bool known =
                std::find(directories_.begin(), directories_.end(), directory) != directories_.end();
            if (directory.front() == '/' && !known) directories_.push_back(std::move(directory));
        }
    }

    HostSlice collect(const std::vector<std::string>& wanted) {
        for (const std::string& name : wanted) {
            doing(fmt::format("cannot take '{}' from this host", name), [&] { add_wanted(name); });
        }
        add_minimal_root();
        HostSlice slice;
        slice.root = options_.root;
        slice.files = files_.release();
        slice.programs = std::move(programs_);
        slice.warnings.assign(warnings_.begin(), warnings_.end());
        return slice;
    }

  private:
    // ---- what was asked for

    void add_wanted(const std::string& name) {
        if (const auto path = find_program(name)) {
            programs_.push_back(*path);
            add_program(*path, Missing::fatal);
        } else if (packages_.has(name)) {
            add_package(name);
        } else {
            throw unknown(name);
        }
    }

    std::optional<std::string> find_program(const std::string& name) const {
        if (name.find('/') != std::string::npos) {
            if (name.front() == '/' && is_executable(name)) return name;
            return std::nullopt;
        }
        for (const std::string& directory : directories_) {
            std::string path = directory + "/" + name;
            if (is_executable(path)) return path;
        }
        return std::nullopt;
    }

    bool is_executable(const std::string& path) const {
        try {
            const auto file = root_.try_open(path, O_PATH);
            if (!file) return false;
            const struct stat st = stat_fd(file->get());
            return S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0;
        } catch (const Error& error) {
            // Somebody else's directory on our $PATH (root's, after su): nothing of ours is in there.
            if (error.code() == Errc::denied) return false;
            throw;
        }
    }

    Error unknown(const std::string& name) const {
        if (name.empty()) return Error(Errc::invalid, "a program's name is empty");
        if (name.find('/') != std::string::npos) {
            return Error(Errc::not_found,
                         name.front() == '/'
                             ? fmt::format("'{}' is no program: no such executable file", name)
                             : fmt::format("'{}' is neither a name nor an absolute path", name));
        }
        std::vector<std::string> known = packages_.names();
        for (const std::string& directory : directories_) {
            try {
                const auto fd = root_.try_open(directory, O_RDONLY | O_DIRECTORY);
                if (!fd) continue;
                for (std::string& program : list_directory(fd->get())) known.push_back(std::move(program));
            } catch (const Error& error) {
                if (error.code() != Errc::denied) throw;  // nothing in there can be suggested
            }
        }
        std::sort(known.begin(), known.end());
        return Error(Errc::not_found, fmt::format("no program or installed package is called '{}'{}", name,
                                                  did_you_mean(name, known)))
            .hint(fmt::format("programs are looked for in {}; give another one's absolute path",
                              kStandardPath));
    }

    void add_package(const std::string& package) {
        const std::size_t before = programs_.size();
        for (const std::string& path : packages_.files(package)) {
            if (!is_program_path(path) || !is_executable(path)) continue;
            programs_.push_back(path);
            add_program(path, Missing::fatal);
        }
        if (programs_.size() == before) {
            throw Error(Errc::not_found, fmt::format("the package '{}' has no programs", package));
        }
        add_package_data(package);
    }

    // ---- what that needs

    /// A program by the path under which it is called.
    void add_program(const std::string& path, Missing missing) {
        const auto real = files_.take(path);
        if (!real) {
            miss(missing, fmt::format("'{}' does not exist", path));
            return;
        }
        if (!programs_seen_.insert(*real).second) return;
        add_needs(*real, path, {}, missing);
        if (is_python(base_name(*real))) {
            add_python(*real);
        } else if (auto package = packages_.owner(*real)) {
            add_package_data(*package);
        } else if ((package = packages_.owner(path))) {
            add_package_data(*package);
        }
    }

    /// Libraries or interpreter of a file that is taken already. `real` is where it lies, `path` how it was
    /// called, `inherited` the RPATHs of what loads it.
    void add_needs(const std::string& real, const std::string& path,
                   const std::vector<std::string>& inherited, Missing missing) {
        if (!needs_seen_.insert(real).second) return;
        const UniqueFd fd = root_.open(real, O_RDONLY | O_NONBLOCK);
        std::optional<ElfInfo> elf;
        try {
            elf = read_elf(fd.get());
        } catch (Error& failure) {
            if (missing == Missing::fatal) throw failure.within(fmt::format("cannot read '{}'", real));
            warnings_.insert(fmt::format("'{}': {}", real, failure.message()));
            return;
        }
        if (elf) {
            add_libraries(*elf, real, path, inherited, missing);
        } else {
            add_interpreter(fd.get(), real, missing);
        }
    }

    void add_libraries(const ElfInfo& elf, const std::string& real, const std::string& path,
                       const std::vector<std::string>& inherited, Missing missing) {
        if (!elf.interpreter.empty()) {
            const auto linker = files_.take(elf.interpreter);
            if (!linker)
                miss(missing, fmt::format("'{}' needs the dynamic linker '{}', which does not exist", real,
                                          elf.interpreter));
            if (!some_dynamic_) some_dynamic_ = elf;
        }
        std::vector<std::string> passed_on = inherited;
        for (const std::string& directory : elf.rpath) {
            passed_on.push_back(HostLibraries::expand(directory, parent_of(real), elf.bits));
        }
        for (const std::string& name : elf.needed) {
            auto found = libraries_.find(name, real, elf, inherited);
            if (!found && path != real) found = libraries_.find(name, path, elf, inherited);
            if (!found) {
                miss(missing, fmt::format("'{}' needs the library '{}', which is not found", real, name));
                continue;
            }
            add_library(*found, passed_on, missing);
        }
    }

    void add_library(const HostLibraries::Found& found, const std::vector<std::string>& inherited,
                     Missing missing) {
        needs_linker_cache_ = needs_linker_cache_ || found.only_by_cache;
        if (const auto real = files_.take(found.path)) add_needs(*real, found.path, inherited, missing);
    }

    void add_interpreter(int fd, const std::string& real, Missing missing) {
        char start[kShebangBytes];
        const std::size_t size = pread_full(fd, std::as_writable_bytes(std::span(start)), 0);
        const std::string_view text(start, size);
        if (!starts_with(text, "#!")) return;
        const std::string_view line = text.substr(2, text.substr(2).find('\n'));
        const std::vector<std::string> words = split(line, " \t\r");
        if (words.empty()) return;
        if (!is_executable(words[0])) {
            miss_interpreter(missing, real, words[0]);
            return;
        }
        add_program(words[0], missing);
        if (base_name(words[0]) != "env") return;
        for (std::size_t i = 1; i < words.size(); ++i) {
            if (words[i].front() == '-' || words[i].find('=') != std::string::npos) continue;
            if (const auto program = find_program(words[i])) {
                add_program(*program, missing);
            } else {
                miss_interpreter(missing, real, words[i]);
            }
            return;
        }
    }

    /// An example or a tool among the data, written for another system, does not run on this host either.
    void miss_interpreter(Missing missing, const std::string& script, const std::string& interpreter) const {
        if (missing == Missing::told) return;
        throw Error(Errc::not_found,
                    fmt::format("'{}' needs the interpreter '{}', which is not found", script, interpreter));
    }

    void miss(Missing missing, const std::string& what) {
        if (missing == Missing::fatal) throw Error(Errc::not_found, what);
        warnings_.insert(what);
    }

    // ---- data

    void add_python(const std::string& real) {
        const std::string name = base_name(real);
        std::string prefix = parent_of(parent_of(real));
        if (prefix == "/") prefix.clear();
        const std::string library = prefix + "/lib/" + name;
        if (!files_.take(library)) {
            warnings_.insert(fmt::format("'{}' has no standard library at '{}'", real, library));
            return;
        }
        add_tree(library, [](const std::string& entry, bool directory) {
            if (!directory) return !ends_with(entry, ".pyc");
            return entry != "test" && entry != "tests" && entry != "idlelib" && entry != "turtledemo" &&
                   entry != "__pycache__" && entry != "dist-packages" && entry != "site-packages" &&
                   !starts_with(entry, "config-");
        });
    }

    /// A directory with all in it that `wanted(name, is_directory)`.
    template <typename Wanted>
    void add_tree(const std::string& path, const Wanted& wanted) {
        const auto real = files_.take(path);
        if (!real) return;
        const UniqueFd fd = root_.open(*real, O_RDONLY | O_DIRECTORY);
        for (const std::string& name : list_directory(fd.get())) {
            const std::string child = (*real == "/" ? "" : *real) + "/" + name;
            const auto st = files_.look(child);
            if (!st) continue;
            if (S_ISDIR(st->st_mode)) {
                if (wanted(name, true)) add_tree(child, wanted);
            } else if (wanted(name, false)) {
                add_data(child);
            }
        }
    }

    void add_package_data(const std::string& package) {
        if (!packages_seen_.insert(package).second) return;
        for (const std::string& path : packages_.files(package)) {
            if (is_program_path(path) || is_needless(path)) continue;
            const auto st = root_.lstat(path);
            if (st && (S_ISREG(st->st_mode) || S_ISLNK(st->st_mode))) add_data(path);
        }
    }

    /// A file that a program may open. Never one that the host keeps from somebody.
    void add_data(const std::string& path) {
        const auto target = root_.try_open(path, O_PATH);
        if (!target) return;  // a dangling symlink
        const struct stat st = stat_fd(target->get());
        if (!S_ISREG(st.st_mode)) return;
        if ((st.st_mode & S_IROTH) == 0) {
            warnings_.insert(fmt::format("'{}' is left out: not everybody may read it (mode {:04o})", path,
                                         st.st_mode & 07777));
            return;
        }
        const auto real = files_.take(path);
        if (!real) return;
        const bool library = base_name(*real).find(".so") != std::string::npos;
        if (library || (st.st_mode & 0111) != 0) add_needs(*real, path, {}, Missing::told);
    }

    // ---- the root around it

    void add_minimal_root() {
        files_.make_directory("/", 0755);
        // Merged /usr: "/bin/sh" must work where "/usr/bin/sh" was taken.
        for (const char* name : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
            const auto st = files_.look(name);
            if (st && S_ISLNK(st->st_mode)) files_.take(name);
        }
        if (some_dynamic_) {
            // glibc opens it by name when a thread ends early (pthread_exit, pthread_cancel).
            const auto unwinder = libraries_.find("libgcc_s.so.1", "/usr/lib/", *some_dynamic_, {});
            if (unwinder) add_library(*unwinder, {}, Missing::told);
        }
        if (needs_linker_cache_) files_.take("/etc/ld.so.cache");
        files_.take("/etc/os-release");
        if (files_.look("/usr/lib/locale/C.utf8")) {
            add_tree("/usr/lib/locale/C.utf8", [](const std::string&, bool) { return true; });
        }
        if (files_.look("/usr/share/zoneinfo/UTC")) files_.take("/usr/share/zoneinfo/UTC");

        for (const char* path : {"/dev", "/etc", "/proc", "/run", "/sys", "/var"})
            files_.make_directory(path, 0755);
        files_.make_directory("/root", 0700);
        files_.make_directory("/tmp", 01777);
        files_.make_directory("/var/tmp", 01777);
        const char* shell =
            files_.has("/usr/bin/sh") || files_.has("/bin/sh") ? "/bin/sh" : "/usr/sbin/nologin";
        files_.make_file("/etc/passwd",
                         fmt::format("root:x:0:0:root:/root:{}\n"
                                     "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
                                     shell));
        files_.make_file("/etc/group", "root:x:0:\nnogroup:x:65534:\n");
        files_.make_file("/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
        files_.make_file("/etc/nsswitch.conf",
                         "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
                         "protocols: files\nservices: files\n");
    }

    const HostSliceOptions& options_;
    const RootDir root_;
    HostFiles files_;
    HostLibraries libraries_;
    HostPackages packages_;
    std::vector<std::string> directories_;
    std::vector<std::string> programs_;
    std::set<std::string> programs_seen_;
    std::set<std::string> needs_seen_;
    std::set<std::string> packages_seen_;
    std::set<std::string> warnings_;
    std::optional<ElfInfo> some_dynamic_;
    bool needs_linker_cache_ = false;
};

}  // namespace

HostSlice collect_host_slice(const std::vector<std::string>& programs, const HostSliceOptions& options) {
    if (programs.empty()) {
        throw Error(Errc::invalid, "no program is named").hint("name some, e.g. sh coreutils python3");
    }
    return SliceCollector(options).collect(programs);
}

ImportedFiles import_host_slice(Transaction& transaction, const HostSlice& slice, Progress* progress) {
    return doing("cannot take in programs of this host", [&] {
        const RootDir root(slice.root);
        std::vector<Entry> entries;
        entries.reserve(slice.files.size());
        std::uint64_t content_bytes = 0;
        std::optional<Timestamp> newest;
        for (const HostFile& file : slice.files) {
            Entry entry = file.entry;
            validate_entry(entry);
            Inode& inode = entry.inode;
            if (inode.type == FileType::regular && inode.size != 0) {
                if (file.source.empty()) {
                    inode.object = transaction.add_object(as_bytes(file.content));
                } else {
                    const UniqueFd fd = root.open(file.source, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
                    const struct stat st = stat_fd(fd.get());
                    if (!S_ISREG(st.st_mode) || static_cast<std::uint64_t>(st.st_size) != inode.size) {
                        throw Error(Errc::conflict,
                                    fmt::format("'{}' changed since it was looked at", file.source))
                            .hint("try again when the host's packages are not being updated");
                    }
                    inode.object = transaction.add_object_from(fd.get(), inode.size);
                }
            }
            content_bytes += inode.size;
            if (progress != nullptr) progress->bytes("host programs", content_bytes, 0);
            if (!newest || *newest < inode.mtime) newest = inode.mtime;
            entries.push_back(std::move(entry));
        }
        return ImportedFiles{transaction.add_layer(entries), entries.size(), content_bytes, newest, 0};
    });
}

}  // namespace surcoat
