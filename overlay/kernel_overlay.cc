#include "overlay/kernel_overlay.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <cerrno>
#include <chrono>
#include <map>
#include <thread>

#include "layers/base/file.h"
#include "layers/base/root_dir.h"
#include "layers/base/synchronized.h"
#include "layers/base/temp_dir.h"
#include "overlay/mount.h"
#include "overlay/namespaces.h"
#include "overlay/probe.h"
#include "overlay/upper.h"

namespace surcoat::overlay {
namespace {

// EROFS straight from the file since Linux 6.12; before that, or on a file system that cannot serve it
// (ENOTBLK and EINVAL are both seen), through a loop device which goes with the last mount.
UniqueFd mount_erofs(const std::filesystem::path& image) {
    constexpr std::uint64_t kAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID;
    std::string refusal;
    try {
        FsContext erofs("erofs");
        erofs.set_string("source", image.string());
        return erofs.mount(kAttributes);
    } catch (const Error& e) {
        if (e.os_error() != ENOTBLK && e.os_error() != EINVAL && e.os_error() != EOPNOTSUPP) throw;
        refusal = e.message();
    }
    return doing(fmt::format("the view's metadata can be mounted neither from its file ({}) nor through a loop device",
                             refusal), [&] {
        const UniqueFd file = open_file(image, O_RDONLY);
        const LoopDevice loop = attach_loop(file.get());
        FsContext erofs("erofs");
        erofs.set_string("source", loop.path);
        erofs.set_flag("ro");
        return erofs.mount(kAttributes);
    });
}

// The image's layers as one lower: an EROFS mount, or the metadata directory.
UniqueFd open_image_lower(Store& store, const std::vector<DiffId>& layers) {
    if (can_mount_erofs()) return mount_erofs(store.erofs_view(layers));
    return open_file(store.directory_view(layers), O_PATH | O_DIRECTORY);
}

// `volatile` leaves this behind while it is mounted and after a crash; the kernel refuses the upper as long
// as it is there. The caller has said that the upper is worthless after a crash, so a second mount in the
// same life of the machine is fine.
void forget_volatile(const UpperLayer& upper) { remove_tree(upper.work / "work" / "incompat"); }

Error explain(const Error& e, const std::optional<UpperLayer>& upper) {
    if (e.os_error() == EBUSY && upper) {
        return Error(Errc::conflict, fmt::format("the writable layer '{}' is mounted already: {}", upper->upper.string(),
                                                 e.message()))
            .hint("a container can be mounted once at a time: end what uses it, or `surcoat umount` it")
            .errno_was(EBUSY);
    }
    if (e.os_error() == EPERM) {
        return Error(Errc::denied, e.message())
            .hint("mounting overlayfs needs root, or Linux 5.11 and later with user namespaces")
            .errno_was(EPERM);
    }
    if (e.code() == Errc::unsupported) {
        return Error(Errc::unsupported, e.message())
            .hint("kernels before 6.7 lack overlayfs' data-only lowers through the mount API")
            .errno_was(e.os_error());
    }
    return e;
}

UniqueFd mount_once(Store& store, const LowerStack& lowers, const std::optional<UpperLayer>& upper,
                    const ViewOptions& options) {
    const bool trusted = upper_namespace() == OverlayNamespace::trusted;
    const UniqueFd image = open_image_lower(store, lowers.layers);
    if (upper) prepare_upper(*upper, lowers, image.get());

    FsContext overlay("overlay");
    overlay.set_string("source", "surcoat");
    if (!trusted) overlay.set_flag("userxattr");
    for (const auto& frozen : lowers.frozen_uppers) overlay.set_string("lowerdir+", frozen.string());
    overlay.set_fd_or_path("lowerdir+", image.get());
    overlay.set_string("datadir+", store.objects_directory().string());
    overlay.set_string("xino", "on");
    if (trusted) {
        overlay.set_string("redirect_dir", "on");
        overlay.set_string("metacopy", "on");
    }
    if (upper) {
        overlay.set_string("upperdir", upper->upper.string());
        overlay.set_string("workdir", upper->work.string());
        if (trusted) overlay.set_string("index", "on");
        if (options.scratch) {
            forget_volatile(*upper);
            overlay.set_flag("volatile");
        }
    }
    // No device node of an image or a container is ever opened through a view: there is no device cgroup that
    // would stop it. A sandbox mounts a /dev of its own.
    return overlay.mount(MOUNT_ATTR_NODEV | (options.read_only || !upper ? MOUNT_ATTR_RDONLY : 0));
}

// In the store's own file system: what /tmp can do says nothing about it.
std::optional<std::string> try_empty_view(Store& store) {
    try {
        const TempDir scratch(store.path("tx"), "probe.");
        const UpperLayer upper{scratch.path() / "upper", scratch.path() / "work"};
        make_directories(upper.upper);
        make_directories(upper.work);
        const UniqueFd root = mount_overlay(store, {}, upper, {.scratch = true});
        if (::mkdirat(root.get(), "probe", 0755) != 0) throw_errno("write to an empty view");
        return std::nullopt;
    } catch (const Error& e) {
        return e.message();
    }
}

}  // namespace

UniqueFd mount_overlay(Store& store, const LowerStack& lowers, const std::optional<UpperLayer>& upper,
                       const ViewOptions& options) {
    // A mount whose last process has just ended is taken apart by a kernel worker a moment later; until then its
    // upper is busy. So a container that is started again at once waits for that, but not for a real owner.
    constexpr auto kPatience = std::chrono::milliseconds(500);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    for (auto pause = std::chrono::milliseconds(1);; pause *= 2) {
        try {
            return mount_once(store, lowers, upper, options);
        } catch (const Error& e) {
            const bool wait = e.os_error() == EBUSY && !options.read_only && std::chrono::steady_clock::now() < deadline;
            if (!wait) throw explain(e, upper);
        }
        std::this_thread::sleep_for(pause);
    }
}

std::optional<std::string> kernel_overlay_fault(Store& store) {
    using Verdicts = std::map<std::pair<std::string, Privilege>, std::optional<std::string>>;
    static Synchronized<Verdicts> remembered;
    const Privilege privilege = current_privilege();
    const auto key = std::pair(store.root().string(), privilege);
    if (const auto known = remembered.lock(); known->contains(key)) return known->at(key);

    std::optional<std::string> fault;
    if (privilege == Privilege::none) {
        fault = "this process is neither root nor root of a user namespace";
    } else {
        // gc takes directories in tx/ that belong to no transaction, and may do so between two of our steps.
        for (int attempt = 0; attempt < 3; ++attempt) {
            fault = try_empty_view(store);
            if (!fault) break;
        }
    }
    (*remembered.lock())[key] = fault;
    return fault;
}

bool can_mount_erofs() {
    // The privilege changes when this process (or a child) enters a namespace; the kernel stays what it is.
    if (current_privilege() != Privilege::root) return false;
    static const bool known = [] {
        try {
            FsContext probe("erofs");
            return true;
        } catch (const Error&) {
            return false;
        }
    }();
    return known;
}

OverlayNamespace upper_namespace() { return can_mount_erofs() ? OverlayNamespace::trusted : OverlayNamespace::user; }

std::vector<Probe> probe_backends(Store& store) {
    std::vector<Probe> all;
    const Privilege privilege = current_privilege();
    all.push_back({"privilege to mount", privilege != Privilege::none,
                   privilege == Privilege::root             ? "root"
                   : privilege == Privilege::user_namespace ? "root of a user namespace"
                                                            : "none: only the library view works"});
    Probe erofs{"EROFS metadata from a file, without a loop device", false, "root only"};
    if (can_mount_erofs()) {
        try {
            FsContext context("erofs");
            context.set_string("source", store.erofs_view({}).string());
            const UniqueFd mount = context.mount(MOUNT_ATTR_RDONLY);
            erofs = {erofs.what, true, "0.1 ms a mount"};
        } catch (const Error& e) {
            erofs.detail = fmt::format("{}; a loop device is used instead", e.message());
        }
    } else if (privilege == Privilege::root) {
        erofs.detail = "this kernel has no EROFS: metadata directories are used, an inode for each file";
    }
    all.push_back(erofs);
    const auto fault = kernel_overlay_fault(store);
    all.push_back({"kernel overlayfs in the store's file system", !fault,
                   fault.value_or(upper_namespace() == OverlayNamespace::trusted
                                      ? "with redirect_dir, index, metacopy, xino"
                                      : "with userxattr: directories of the image cannot be renamed in place, hardlinks "
                                        "of the image break when written to")});
    all.push_back({"ids beyond one", has_id_range(),
                   has_id_range() ? "" : "every file shows as root's, only root can run: see /etc/subuid and newuidmap"});
    return all;
}

void attach_mount(const UniqueFd& mount, const std::filesystem::path& where) {
    // Seen from the host, an image's device nodes are only names; the sandbox brings its own /dev.
    change_mount(mount.get(), MOUNT_ATTR_NODEV);
    attach_at(mount.get(), where);
}

void detach_mount(const std::filesystem::path& where) { unmount(where); }

bool is_mount_point(const std::filesystem::path& where) {
    // STATX_ATTR_MOUNT_ROOT (Linux 5.8) is exact, also for bind mounts within one file system.
    struct statx answer {};
    if (::statx(AT_FDCWD, where.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_BASIC_STATS, &answer) != 0) {
        return false;
    }
    return (answer.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

}  // namespace surcoat::overlay
