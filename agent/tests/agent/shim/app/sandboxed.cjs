module.exports = (job) => new Promise((resolve) => setTimeout(resolve, job.data.ms));
