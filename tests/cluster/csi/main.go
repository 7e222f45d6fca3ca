// A CSI driver for the one node of a test cluster. A volume is a tmpfs, which grows while it is mounted, and forgets what it
// holds when it is not.
//
//	csi PLUGIN.sock REGISTRATION.sock VOLUMES NODE
//
// VOLUMES/ID is an empty file as long as the volume ID is big; whoever makes the PersistentVolume makes it.
// In: what the kubelet and csi-resizer ask for. Does not know about Kubernetes' objects.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const name = "tmpfs.leveret.dev"

type driver struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedControllerServer
	csi.UnimplementedNodeServer
	endpoint, volumes, node string
}

func (d *driver) volume(id string) string { return filepath.Join(d.volumes, filepath.Base(id)) }

func mount(arguments ...string) error {
	said, err := exec.Command("mount", arguments...).CombinedOutput()
	log.Printf("mount %v: %s %v", arguments, said, err)
	return err
}

func mounted(path string) bool { return exec.Command("mountpoint", "-q", path).Run() == nil }

// --- what it is and what it can do ------------------------------------------------

func (d *driver) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: name, VendorVersion: "1"}, nil
}

func (d *driver) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (d *driver) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	service := csi.PluginCapability_Service{Type: csi.PluginCapability_Service_CONTROLLER_SERVICE}
	online := csi.PluginCapability_VolumeExpansion{Type: csi.PluginCapability_VolumeExpansion_ONLINE}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		{Type: &csi.PluginCapability_Service_{Service: &service}},
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &online}},
	}}, nil
}

func (d *driver) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	expand := csi.ControllerServiceCapability_RPC{Type: csi.ControllerServiceCapability_RPC_EXPAND_VOLUME}
	return &csi.ControllerGetCapabilitiesResponse{Capabilities: []*csi.ControllerServiceCapability{
		{Type: &csi.ControllerServiceCapability_Rpc{Rpc: &expand}},
	}}, nil
}

func (d *driver) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	expand := csi.NodeServiceCapability_RPC{Type: csi.NodeServiceCapability_RPC_EXPAND_VOLUME}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{
		{Type: &csi.NodeServiceCapability_Rpc{Rpc: &expand}},
	}}, nil
}

func (d *driver) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: d.node}, nil
}

// --- a volume's way ---------------------------------------------------------------

func (d *driver) NodePublishVolume(_ context.Context, r *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if mounted(r.TargetPath) {
		return &csi.NodePublishVolumeResponse{}, nil
	}
	info, err := os.Stat(d.volume(r.VolumeId))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.TargetPath, 0o750); err != nil {
		return nil, err
	}
	size := fmt.Sprintf("size=%d", info.Size())
	return &csi.NodePublishVolumeResponse{}, mount("-t", "tmpfs", "-o", size, r.VolumeId, r.TargetPath)
}

func (d *driver) ControllerExpandVolume(_ context.Context, r *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	size := r.CapacityRange.GetRequiredBytes()
	response := &csi.ControllerExpandVolumeResponse{CapacityBytes: size, NodeExpansionRequired: true}
	return response, os.Truncate(d.volume(r.VolumeId), size)
}

func (d *driver) NodeExpandVolume(_ context.Context, r *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	size := r.CapacityRange.GetRequiredBytes()
	response := &csi.NodeExpandVolumeResponse{CapacityBytes: size}
	return response, mount("-o", fmt.Sprintf("remount,size=%d", size), r.VolumePath)
}

func (d *driver) NodeUnpublishVolume(_ context.Context, r *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if mounted(r.TargetPath) {
		if err := exec.Command("umount", r.TargetPath).Run(); err != nil {
			return nil, err
		}
	}
	_ = os.Remove(r.TargetPath) // the kubelet looks whether it is gone
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// --- the kubelet finds it by a socket of its own ------------------------------------

type registrar struct {
	registration.UnimplementedRegistrationServer
	d *driver
}

func (r registrar) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{Type: registration.CSIPlugin, Name: name, Endpoint: r.d.endpoint, SupportedVersions: []string{"1.0.0"}}, nil
}

func (r registrar) NotifyRegistrationStatus(_ context.Context, s *registration.RegistrationStatus) (*registration.RegistrationStatusResponse, error) {
	log.Printf("registered: %v %s", s.PluginRegistered, s.Error)
	return &registration.RegistrationStatusResponse{}, nil
}

func serve(socket string, register func(*grpc.Server)) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		log.Fatal(err)
	}
	_ = os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	register(server)
	log.Fatal(server.Serve(listener))
}

func main() {
	d := &driver{endpoint: os.Args[1], volumes: os.Args[3], node: os.Args[4]}
	go serve(os.Args[2], func(s *grpc.Server) { registration.RegisterRegistrationServer(s, registrar{d: d}) })
	serve(d.endpoint, func(s *grpc.Server) {
		csi.RegisterIdentityServer(s, d)
		csi.RegisterControllerServer(s, d)
		csi.RegisterNodeServer(s, d)
	})
}
