"""What ``epgraph new`` writes without a template."""

STARTER = """\
# A small network for the 8×8 digits of scikit-learn, to edit. What is left out has its default (docs/language.md).
#   epgraph check FILE                     states, edges, schedule and cost; every mistake with its line
#   epgraph render FILE -o net.svg         the diagram
#   epgraph train FILE --data digits       training
epgraph: 2
name: my-network
input:  {name: x, shape: [1, 8, 8]}                 # channels, height, width; or [units]
output: {name: y, classes: 10}
defaults: {activation: relu1}                       # of states that say nothing
states:
  h1: {channels: 16}                                # height and width follow from the edges
  h2: {channels: 16}
  h3: {shape: [64]}                                 # units without pixels
edges:                                              # each acts both ways: write it as the signal flows
  - {from: x,  to: h1, conv: {kernel: 3, padding: 1, stride: 2}}
  - {from: h1, to: h2, conv: {kernel: 3, padding: 1}}
  - {from: h2, to: h3, dense: {}}
  - {from: h1, to: h3, dense: {}}                   # a skip is one more line
  - {from: h3, to: y,  dense: {}}
init: {rule: graph_aware}                           # weights drawn from the graph, so that it settles
dynamics: {schedule: coloring, free_steps: 40, nudged_steps: 20}
learning: {estimator: centered, beta: 0.1}
training: {epochs: 10, batch_size: 32, learning_rate: 0.03, weight_decay: 1e-3, warm_start: false}
"""
