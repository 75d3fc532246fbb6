// Package sshagent lets a build step use SSH keys and nothing else of the agent that holds them.
//
// An [Agent] is the user's own agent, reached through its socket, or the keys in a few files. The step may list the
// keys and have data signed; whatever else the protocol knows (adding and removing keys, locking the agent, extensions)
// is answered with a failure here and never reaches the user's agent. Messages are bounded as in OpenSSH.
//
// The protocol is that of draft-ietf-sshm-ssh-agent.
package sshagent
