// A run: what was measured of its checkpoints. Filled in below once there is one.

const measured = () => [];
const drawCharts = () => {};
